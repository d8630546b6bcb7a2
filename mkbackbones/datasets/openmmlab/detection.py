"""One mmdet dataset class a set: ``CocoDataset`` with the set's classes and colours.

    train_dataloader = dict(dataset=dict(
        type='mkbackbones.DeepPcbDetDataset', data_root='data/deep-pcb',
        ann_file='annotations/train.json', data_prefix=dict(img='images/train/')))

mmdet drops training images without a box unless ``filter_cfg=dict(filter_empty_gt=False)`` keeps
them as negatives.
"""

from __future__ import annotations

from mmdet.datasets import CocoDataset

from ...registry import DATASETS
from .. import metainfo

_METAINFO = {
    'NeuDetDataset': metainfo.NEU_DET,
    'NeuSegDetDataset': metainfo.NEU_SEG_INSTANCES,
    'SyntheticDetDataset': metainfo.SYNTHETIC_INSTANCES,
    'Gc10DetDataset': metainfo.GC10_DET,
    'DeepPcbDetDataset': metainfo.DEEP_PCB,
    'MagneticTileDetDataset': metainfo.MAGNETIC_TILE,
    'KolektorSddDetDataset': metainfo.KOLEKTOR,
    'KolektorSdd2DetDataset': metainfo.KOLEKTOR,
    'BsDataDetDataset': metainfo.BSDATA,
    'MvtecAdDetDataset': metainfo.ANOMALY,
    'VisaDetDataset': metainfo.ANOMALY,
    'SeverstalDetDataset': metainfo.SEVERSTAL,
    'DagmDetDataset': metainfo.DAGM,
    'CrackForestDetDataset': metainfo.CRACKFOREST,
}
__all__ = list(_METAINFO)

for _name, _content in _METAINFO.items():
    _body = dict(METAINFO=_content, __module__=__name__, __doc__=f'{_name[:-10]} in COCO format.')
    globals()[_name] = DATASETS.register_module(module=type(_name, (CocoDataset,), _body))
