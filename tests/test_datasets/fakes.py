"""Small stand-ins for NEU-DET and NEU-Seg, with the real file names."""

import io
import zipfile

import numpy as np
from PIL import Image

from mkbackbones.datasets.splits import neu_det_split, neu_seg_rows

VOC = """<annotation><size><width>{side}</width><height>{side}</height><depth>1</depth></size>
<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>
<ymax>{box[3]}</ymax></bndbox></object></annotation>"""


def encode(pixels, form):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def voc(name='crazing', box=(1, 1, 10, 20), side=32):
    return VOC.format(name=name, box=box, side=side).encode()


def neu_det_files(layout='original'):
    """A NEU-DET with the real stems and one box an image: name -> content."""
    image = encode(np.full((32, 32, 3), 99, np.uint8), 'JPEG')
    files = {}
    for index, stem in enumerate(neu_det_split()[0]):
        kind = stem.rsplit('_', 1)[0]
        if layout == 'original':
            names = f'NEU-DET/IMAGES/{stem}.jpg', f'NEU-DET/ANNOTATIONS/{stem}.xml'
        else:
            side = 'validation' if index % 5 == 0 else 'train'
            names = (
                f'NEU-DET/{side}/images/{kind}/{stem}.jpg',
                f'NEU-DET/{side}/annotations/{stem}.xml',
            )
        files.update(zip(names, (image, voc(kind))))
    return files


def neu_seg_files():
    """A NEU-Seg with the real names and two components a mask: name -> content."""
    classes = dict(inclusion=1, patches=2, scratches=3)
    files = {}
    for row in neu_seg_rows():
        mask = np.zeros((32, 32), np.uint8)
        mask[2:8, 3:9] = mask[8:14, 9:15] = classes[row['neudet_id'].rsplit('_', 1)[0]]
        mask[20:30, 20:30] = mask.max()
        mask[0, 31] = mask.max()
        stem = row['file'].removesuffix('.jpg')
        files[f'NEU_Seg/annotations/{row["official"]}/{stem}.png'] = encode(mask, 'PNG')
    return files


def write_zip(path, files):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tree(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root
