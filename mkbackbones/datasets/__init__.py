"""Defect data sets: converters, the writer of mmdet's and mmseg's layout, a procedural set.

Nothing here imports mmdet, mmseg or mmcv.
"""

from mkbackbones.datasets.errors import DatasetError, FileFault
from mkbackbones.datasets.public.neu_det import NeuDet
from mkbackbones.datasets.public.neu_seg import NeuSeg
from mkbackbones.datasets.records import SPLITS, Converter, Instance, Record, iter_records
from mkbackbones.datasets.splitting import Splitter
from mkbackbones.datasets.synthetic import SyntheticDefects
from mkbackbones.datasets.writer import write_dataset

__all__ = [
    'SPLITS',
    'Converter',
    'DatasetError',
    'FileFault',
    'Instance',
    'NeuDet',
    'NeuSeg',
    'Record',
    'Splitter',
    'SyntheticDefects',
    'iter_records',
    'write_dataset',
]
