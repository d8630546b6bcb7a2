"""Pictures cut from made-up surfaces."""

import cv2
import numpy as np

from mkbackbones.datasets.textures import add_distractors, expose, make_surface

SIDE = 128


def strip(seed, size=256):
    """A lit surface, (size, size) uint8; independent for each seed."""
    rng = np.random.default_rng(seed)
    surface = make_surface(rng, size)
    add_distractors(rng, surface)
    return expose(rng, surface)


def crop(image, y, x, side=SIDE):
    return image[y : y + side, x : x + side]


def jpeg(image, quality):
    content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)


def exposed(image, gain=1.0, offset=0.0, gamma=1.0):
    value = (image / 255.0) ** gamma * gain + offset
    return np.round(np.clip(value, 0, 1) * 255).astype(np.uint8)


def write(folder, images):
    """Write name -> image as PNG below a folder."""
    for name, image in images.items():
        path = folder / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode('.png', image)[1].tobytes())
    return folder


def chatter(seed, pitch, side=SIDE):
    """A periodic pattern with its own grain: roll marks on another piece of the same strip."""
    rng = np.random.default_rng(seed)
    x = np.arange(side) + rng.uniform(0, pitch)
    wave = 40 * np.sin(2 * np.pi * x / pitch)[None]
    grain = cv2.GaussianBlur(rng.normal(0, 25, (side, side)), (0, 0), 1)
    return np.clip(128 + wave + grain, 0, 255).astype(np.uint8)
