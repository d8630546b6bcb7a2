"""A small valid set for each reader, with everything that the reader knows."""

import base64
import json
from dataclasses import dataclass, field

import numpy as np
from pycocotools import mask as coco_mask

from mkbackbones.datasets.generic.coco import Coco
from mkbackbones.datasets.generic.cvat import Cvat
from mkbackbones.datasets.generic.label_studio import LabelStudio
from mkbackbones.datasets.generic.labelme import Labelme
from mkbackbones.datasets.generic.mask_folder import MaskFolder
from mkbackbones.datasets.generic.voc import Voc
from mkbackbones.datasets.generic.yolo import Yolo

from ..fakes import encode
from ..test_generic.common import HEIGHT, WIDTH, png
from ..test_generic.test_label_studio import packed

__all__ = ['READERS', 'Reader']


@dataclass
class Reader:
    """A reader and its set.

    Args:
        make (type): The converter.
        files (dict[str, bytes]): Name to content.
        objects (dict[str, int]): Stem of an image to the number of its objects.
        options (dict): Arguments of the converter.
    """

    make: type
    files: dict[str, bytes]
    objects: dict[str, int]
    options: dict = field(default_factory=dict)


MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[4:9, 6:12] = 1
MASK[6, 8] = 0
SQUARE = [[2, 2], [8, 2], [8, 8], [2, 8]]
IMAGES = {f'{split}/images/{split}.png': png(seed) for seed, split in enumerate(('train', 'val'))}


def _text(content):
    content = content if isinstance(content, str) else json.dumps(content)
    return content.encode()


def _coco():
    runs = coco_mask.encode(np.asfortranarray(MASK))
    polygon = [[float(value) for point in SQUARE for value in point]]
    flat = MASK.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends.tolist(), flat.size]).tolist()
    segmentations = [
        polygon,
        dict(size=[HEIGHT, WIDTH], counts=runs['counts'].decode()),
        dict(size=[HEIGHT, WIDTH], counts=counts),
    ]
    annotations = [
        dict(id=number, image_id=1, category_id=2, segmentation=item, bbox=[2, 2, 6, 6], iscrowd=0)
        for number, item in enumerate(segmentations, start=1)
    ]
    annotations.append(dict(id=9, image_id=1, category_id=5, bbox=[1.5, 2, 6, 6], iscrowd=1))
    files = {}
    for split, items in dict(train=annotations, val=[annotations[0]]).items():
        files[f'{split}/_annotations.coco.json'] = _text(
            dict(
                images=[dict(id=1, file_name=f'{split}.png', width=WIDTH, height=HEIGHT)],
                annotations=items,
                categories=[dict(id=5, name='dent'), dict(id=2, name='scratch')],
            )
        )
    return Reader(Coco, IMAGES | files, dict(train=4, val=1))


def _voc():
    box = '<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9.5</ymax></bndbox>'
    item = f'<object><name>dent</name><pose>x</pose><difficult>0</difficult>{box}</object>'
    size = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>'
    files = {
        f'{split}/annotations/{split}.xml': _text(
            f'<annotation><filename>{split}.png</filename>{size}{item * count}</annotation>'
        )
        for split, count in dict(train=2, val=1).items()
    }
    return Reader(Voc, IMAGES | files, dict(train=2, val=1))


def _yolo():
    box, polygon = '0 0.5 0.5 0.2 0.3\n', '1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n'
    files = {
        'data.yaml': _text(
            'path: .\ntrain: train/images\nval: val/images\nnc: 2\nnames:\n- dent\n- scratch\n'
        ),
        'train/labels/train.txt': _text(box + polygon + box),
        'val/labels/val.txt': _text(polygon),
    }
    return Reader(Yolo, IMAGES | files, dict(train=3, val=1))


def _labelme():
    bitmap = base64.b64encode(encode(MASK[4:9, 6:12] * 255, 'PNG')).decode()
    shapes = [
        dict(label='dent', points=SQUARE, group_id=None, shape_type='polygon', flags={}),
        dict(label='dent', points=SQUARE[::2], group_id=None, shape_type='rectangle'),
        dict(label='scratch', points=[[9, 9], [12, 9]], group_id=None, shape_type='circle'),
        dict(label='scratch', points=[[6, 4], [11, 8]], shape_type='mask', mask=bitmap),
    ]
    files = {
        f'{split}/{split}.json': _text(
            dict(
                version='5.4.1',
                flags={},
                shapes=shapes[:count],
                imagePath=f'images/{split}.png',
                imageData=None,
                imageHeight=HEIGHT,
                imageWidth=WIDTH,
            )
        )
        for split, count in dict(train=4, val=1).items()
    }
    return Reader(Labelme, IMAGES | files, dict(train=4, val=1))


def _cvat():
    shapes = [
        '<box label="dent" xtl="2" ytl="3" xbr="9" ybr="8" rotation="30"/>',
        '<box label="dent" xtl="2" ytl="3" xbr="9" ybr="8"/>',
        '<polygon label="scratch" points="2,2;8,2;8,8"/>',
        '<ellipse label="dent" cx="9" cy="9" rx="4" ry="3" rotation="10"/>',
        '<mask label="dent" rle="1,3,2" left="12" top="1" width="3" height="2"/>',
    ]
    images = ''.join(
        f'<image id="0" name="{split}.png" subset="{split}" width="{WIDTH}" height="{HEIGHT}">'
        f'{"".join(shapes[:count])}</image>'
        for split, count in dict(train=5, val=1).items()
    )
    labels = '<label><name>dent</name></label><label><name>scratch</name></label>'
    content = f'<annotations><meta><labels>{labels}</labels></meta>{images}</annotations>'
    return Reader(Cvat, IMAGES | {'annotations.xml': _text(content)}, dict(train=5, val=1))


def _label_studio():
    def region(number, kind, **value):
        size = dict(original_width=WIDTH, original_height=HEIGHT, image_rotation=0)
        value = value | {f'{kind}labels': ['dent']}
        return dict(id=f'r{number}', type=f'{kind}labels', to_name='image', value=value, **size)

    results = [
        region(1, 'rectangle', x=10, y=20, width=20, height=30, rotation=0),
        region(2, 'rectangle', x=50, y=20, width=20, height=30, rotation=40),
        region(3, 'polygon', points=[[10, 10], [30, 10], [30, 40]]),
        region(4, 'ellipse', x=50, y=50, radiusX=20, radiusY=10, rotation=0),
        region(5, 'brush', format='rle', rle=packed(MASK)),
    ]
    tasks = [
        dict(
            id=count,
            data=dict(image=f'/data/upload/1/{split}.png'),
            annotations=[dict(id=count, result=results[:count])],
            predictions=[],
        )
        for split, count in dict(train=5, val=1).items()
    ]
    return Reader(LabelStudio, IMAGES | {'export.json': _text(tasks)}, dict(train=5, val=1))


def _mask_folder():
    files = {f'{split}/masks/{split}.png': encode(MASK, 'PNG') for split in ('train', 'val')}
    return Reader(MaskFolder, IMAGES | files, dict(train=1, val=1), dict(classes=['1=dent']))


def _images():
    """Images of every format, each with a box."""
    grey = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH)).astype(np.uint8)
    colour = np.dstack([grey, grey[::-1], grey[:, ::-1]])
    pictures = {'jpeg': colour, 'png': colour, 'bmp': grey, 'tiff': colour, 'webp': colour}
    files = {f'train/{form}.{form}': encode(pixels, form) for form, pixels in pictures.items()}
    files['train/deep.png'] = encode(grey.astype(np.uint16) * 257, 'PNG')
    files |= {f'{name.rpartition(".")[0]}.txt': b'0 .5 .5 .4 .4' for name in files}
    files['classes.txt'] = b'dent\n'
    return Reader(Yolo, files, dict.fromkeys((*pictures, 'deep'), 1))


READERS = dict(
    coco=_coco(),
    voc=_voc(),
    yolo=_yolo(),
    labelme=_labelme(),
    cvat=_cvat(),
    label_studio=_label_studio(),
    mask_folder=_mask_folder(),
    images=_images(),
)
