"""A tiny set of images and the tools to look at what a source makes of it."""

import cv2
import numpy as np

from mkbackbones.datasets import iter_records

HEIGHT, WIDTH = 20, 30


def png(seed=0, height=HEIGHT, width=WIDTH):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width), np.uint8)
    return cv2.imencode('.png', pixels)[1].tobytes()


def write(root, files):
    """Write name -> bytes, str, or an array that becomes a PNG."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, np.ndarray):
            content = cv2.imencode('.png', content)[1].tobytes()
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def by_name(converter):
    return {record.file_name: record for record in iter_records(converter)}


def boxes(record):
    return [(item.label, item.bbox) for item in record.instances]


def pixels(record, index):
    """The mask of an instance on the whole image."""
    canvas = np.zeros((record.height, record.width), np.uint8)
    record.instances[index].paint(canvas, 1)
    return canvas > 0
