"""Defect data sets: converters, the writer of mmdet's and mmseg's layout, a procedural set.

Nothing here imports mmdet, mmseg or mmcv.
"""

from .errors import DatasetError, FileFault
from .public.neu_det import NeuDet
from .public.neu_seg import NeuSeg
from .records import SPLITS, Converter, Instance, Record, iter_records
from .splitting import Splitter
from .synthetic import SyntheticDefects
from .writer import write_dataset

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
