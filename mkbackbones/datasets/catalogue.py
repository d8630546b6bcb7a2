"""All data sets by name: what the command needs to know to offer one."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import metainfo
from .records import Converter

__all__ = ['CATALOGUE', 'Argument', 'Entry', 'source']


@dataclass(frozen=True)
class Argument:
    """A command-line argument that becomes a keyword argument of the converter.

    Args:
        flag (str): E.g. ``'--src'``; the keyword is ``src``.
        help (str): One line.
        is_source (bool): A path that is read: it must not lie in the output folder.
        options (Mapping): Further arguments of ``ArgumentParser.add_argument``.
    """

    flag: str
    help: str
    is_source: bool = False
    options: Mapping = field(default_factory=dict)

    @property
    def keyword(self) -> str:
        """Name of the converter's keyword argument."""
        return self.flag.lstrip('-').replace('-', '_')


@dataclass(frozen=True)
class Entry:
    """A data set.

    Args:
        converter (str): ``module:callable`` of the converter, imported when it is used. It gets
            the arguments as keywords.
        help (str): One line.
        example (str): Arguments of an example, ``--out`` included.
        arguments (tuple[Argument, ...]): What it is called with.
        palette (tuple | None): RGB colours of the classes; None lets colours be made.
        takes_skip_bad (bool): Whether the converter wants ``skip_bad``, to leave missing files to
            ``read``.
        can_be_split (bool): False for a set that is generated split by split.
    """

    converter: str
    help: str
    example: str
    arguments: tuple[Argument, ...] = ()
    palette: tuple | None = None
    takes_skip_bad: bool = False
    can_be_split: bool = True

    def make(self, values: Mapping, *, skip_bad: bool = False) -> Converter:
        """Build the converter.

        Args:
            values (Mapping): Keyword to value; more than the entry's arguments is ignored.
            skip_bad (bool): Passed on where the converter takes it.

        Raises:
            DatasetError: The source cannot be used.
        """
        keywords = {item.keyword: values[item.keyword] for item in self.arguments}
        if self.takes_skip_bad:
            keywords['skip_bad'] = skip_bad
        return pkgutil.resolve_name(self.converter)(**keywords)


def source(what: str, flag: str = '--src') -> Argument:
    """The argument for a folder or zip."""
    return Argument(flag, what, is_source=True, options=dict(required=True, type=Path))


def _count(flag: str, default: int, help: str = 'number of images') -> Argument:
    return Argument(flag, f'{help}; default: %(default)s', options=dict(type=int, default=default))


def _unannotated(default: str) -> Argument:
    return Argument(
        '--unannotated',
        'what an image without an annotation file is: a fault, an image without defects, or '
        'nothing to take; default: %(default)s',
        options=dict(choices=('error', 'negative', 'skip'), default=default),
    )


_CLASSES = Argument(
    '--classes',
    'class names in their order; default: those of the source',
    options=dict(nargs='+', metavar='NAME'),
)
_BIT_DEPTH = Argument(
    '--bit-depth',
    'bits that the camera uses of images that store 16, e.g. 12; default: %(default)s',
    options=dict(type=int, choices=range(9, 17), default=16, metavar='BITS'),
)


def _public(
    converter: str,
    help: str,
    name: str,
    what: str,
    colours: metainfo.Metainfo,
    split: str = '',
    *more: Argument,
) -> Entry:
    """A public set: ``split`` is what its example needs beside source and output."""
    return Entry(
        f'mkbackbones.datasets.public.{converter}',
        help,
        f'--src downloads/{what} --out data/{name}{split}',
        (source(f'the {what} folder or its .zip'), *more),
        palette=tuple(colours['palette']),
    )


_CATEGORIES = Argument(
    '--categories',
    'only these objects; default: all',
    options=dict(nargs='+', default=(), metavar='NAME'),
)

CATALOGUE: dict[str, Entry] = {
    'neu-det': Entry(
        'mkbackbones.datasets.public.neu_det:NeuDet',
        'Convert NEU-DET (1800 images, boxes) to COCO on a split without leaks.',
        '--src downloads/NEU-DET.zip --out data/neu-det',
        (source('the NEU-DET folder or its .zip'),),
        palette=tuple(metainfo.NEU_DET['palette']),
    ),
    'neu-seg': Entry(
        'mkbackbones.datasets.public.neu_seg:NeuSeg',
        'Convert the 899 unrotated masks of NEU-Seg to class maps and COCO instances.',
        '--src downloads/NEU_Seg.zip --images downloads/NEU-DET.zip --out data/neu-seg',
        (
            source('the NEU-Seg folder or its .zip'),
            source('the NEU-DET folder or its .zip', '--images'),
        ),
        palette=tuple(metainfo.NEU_SEG_INSTANCES['palette']),
    ),
    'synthetic': Entry(
        'mkbackbones.datasets.synthetic:SyntheticDefects.from_counts',
        'Generate the procedural defect set: boxes, instance masks and class maps.',
        '--out data/synthetic --size 128 --seed 0',
        (
            _count('--seed', 0, 'seed of the images'),
            _count('--size', 128, 'image side in pixels'),
            _count('--num-train', 240),
            _count('--num-val', 60),
            _count('--num-test', 60),
        ),
        palette=tuple(metainfo.SYNTHETIC_INSTANCES['palette']),
        can_be_split=False,
    ),
    'gc10-det': _public(
        'gc10_det:Gc10Det',
        'Convert GC10-DET (2300 images of steel sheet, ten classes, boxes).',
        'gc10-det',
        'GC10-DET',
        metainfo.GC10_DET,
        ' --split group',
    ),
    'deep-pcb': _public(
        'deep_pcb:DeepPcb',
        'Convert DeepPCB (1500 images of circuit boards, six classes, boxes).',
        'deep-pcb',
        'DeepPCB',
        metainfo.DEEP_PCB,
    ),
    'magnetic-tile': _public(
        'magnetic_tile:MagneticTile',
        'Convert Magnetic tile (1344 images, five classes, masks).',
        'magnetic-tile',
        'Magnetic-tile-defect-datasets.',
        metainfo.MAGNETIC_TILE,
        ' --split group',
    ),
    'kolektor-sdd': _public(
        'kolektor:KolektorSdd',
        'Convert KolektorSDD (399 images of commutators, masks).',
        'kolektor-sdd',
        'KolektorSDD',
        metainfo.KOLEKTOR,
        ' --split group',
    ),
    'kolektor-sdd2': _public(
        'kolektor:KolektorSdd2',
        'Convert KolektorSDD2 (3335 images, masks).',
        'kolektor-sdd2',
        'KolektorSDD2',
        metainfo.KOLEKTOR,
    ),
    'bsdata': _public(
        'bsdata:BsData',
        'Convert BSData (394 labelled images of ball screws, polygons of pitting).',
        'bsdata',
        'BSData',
        metainfo.BSDATA,
        ' --split group',
    ),
    'mvtec-ad': _public(
        'mvtec_ad:MvtecAd',
        'Convert MVTec AD (15 objects and textures) to masks of one class, anomaly.',
        'mvtec-ad',
        'mvtec_anomaly_detection',
        metainfo.ANOMALY,
        ' --split random --categories bottle cable',
        _CATEGORIES,
    ),
    'visa': _public(
        'visa:Visa',
        'Convert VisA (12 objects, 10821 images) to masks of one class, anomaly.',
        'visa',
        'VisA',
        metainfo.ANOMALY,
        '',
        _CATEGORIES,
        Argument(
            '--setup',
            'the official split; 1cls has no anomalies for training; default: %(default)s',
            options=dict(
                choices=('2cls_highshot', '2cls_fewshot', '1cls'), default='2cls_highshot'
            ),
        ),
    ),
    'severstal': _public(
        'severstal:Severstal',
        'Convert Severstal steel (12568 labelled images, four classes, masks).',
        'severstal',
        'severstal-steel-defect-detection',
        metainfo.SEVERSTAL,
        ' --split random',
    ),
    'dagm': _public(
        'dagm:Dagm',
        'Convert DAGM 2007 (ten generated textures, elliptic masks).',
        'dagm',
        'DAGM2007',
        metainfo.DAGM,
    ),
    'crackforest': _public(
        'crackforest:CrackForest',
        'Convert CrackForest (118 images of road surfaces, masks).',
        'crackforest',
        'CrackForest-dataset',
        metainfo.CRACKFOREST,
        ' --split random',
    ),
    'coco': Entry(
        'mkbackbones.datasets.generic.coco:Coco',
        'Your own data: COCO files (boxes, polygons, run lengths).',
        '--src exports/line1 --out data/line1 --split random',
        (
            source('folder or .zip with the JSONs and the images'),
            Argument(
                '--annotations',
                'JSONs to read, by their path in the source; default: all',
                options=dict(nargs='+', metavar='JSON'),
            ),
            _CLASSES,
            Argument(
                '--unannotated',
                'what a set without a single object is: a fault, or images without defects; '
                'default: %(default)s',
                options=dict(choices=('error', 'negative'), default='error'),
            ),
            _BIT_DEPTH,
        ),
        takes_skip_bad=True,
    ),
    'voc': Entry(
        'mkbackbones.datasets.generic.voc:Voc',
        'Your own data: images with a Pascal VOC file each (boxes).',
        '--src exports/line1 --out data/line1 --split random --unannotated negative',
        (
            source('folder or .zip with the XMLs and the images'),
            _CLASSES,
            _unannotated('error'),
            _BIT_DEPTH,
        ),
        takes_skip_bad=True,
    ),
    'yolo': Entry(
        'mkbackbones.datasets.generic.yolo:Yolo',
        'Your own data: images with a YOLO file each (boxes or polygons).',
        '--src exports/line1 --out data/line1',
        (
            source('folder or .zip with data.yaml or classes.txt, label files and images'),
            _CLASSES,
            _unannotated('negative'),
            _BIT_DEPTH,
        ),
        takes_skip_bad=True,
    ),
    'labelme': Entry(
        'mkbackbones.datasets.generic.labelme:Labelme',
        'Your own data: images with a labelme file each (polygons, boxes, circles, masks).',
        "--src exports/line1 --out data/line1 --split group --group-regex '^(part[0-9]+)_'",
        (
            source('folder or .zip with the JSONs and the images'),
            _CLASSES,
            _unannotated('error'),
            _BIT_DEPTH,
        ),
        takes_skip_bad=True,
    ),
    'cvat': Entry(
        'mkbackbones.datasets.generic.cvat:Cvat',
        'Your own data: CVAT for images 1.1 (boxes, polygons, ellipses, masks, cuboids).',
        '--src exports/line1.zip --out data/line1 --split random',
        (source('folder or .zip with the XMLs and the images'), _CLASSES, _BIT_DEPTH),
        takes_skip_bad=True,
    ),
    'label-studio': Entry(
        'mkbackbones.datasets.generic.label_studio:LabelStudio',
        'Your own data: JSON of Label Studio (rectangles, polygons, ellipses, brushes).',
        '--src exports/line1 --out data/line1 --split random',
        (
            source('folder or .zip with the JSONs and the images'),
            _CLASSES,
            _unannotated('error'),
            _BIT_DEPTH,
        ),
        takes_skip_bad=True,
    ),
    'mask-folder': Entry(
        'mkbackbones.datasets.generic.mask_folder:MaskFolder',
        'Your own data: images with a mask file each.',
        '--src exports/line1 --out data/line1 --classes 1=scratch 2=dent --split random',
        (
            source('folder or .zip with the images and the masks'),
            Argument(
                '--classes',
                'what the values (or colours) of a mask mean; or one NAME with --threshold',
                options=dict(nargs='+', required=True, metavar='VALUE=NAME'),
            ),
            Argument(
                '--masks',
                'folder of the masks, beside that of the images; default: %(default)s',
                options=dict(default='masks', metavar='FOLDER'),
            ),
            Argument(
                '--suffix',
                'end of the stem of a mask that lies beside its image, e.g. _mask',
                options=dict(default='', metavar='TEXT'),
            ),
            Argument(
                '--threshold',
                'pixels above it are the one class: for grey masks, or masks saved as JPEG',
                options=dict(type=int, metavar='VALUE'),
            ),
            Argument(
                '--ignore',
                'pixels with this value neither train nor count',
                options=dict(type=int, metavar='VALUE'),
            ),
            _unannotated('error'),
            _BIT_DEPTH,
        ),
        takes_skip_bad=True,
    ),
}
