"""One mmseg dataset class a set: class maps with the set's classes and colours.

train_dataloader = dict(dataset=dict(
    type='mkbackbones.NeuSegDataset', data_root='data/neu-seg',
    data_prefix=dict(img_path='images/train', seg_map_path='masks/train')))
"""

from __future__ import annotations

from os.path import splitext

from mmengine.fileio import list_dir_or_file
from mmseg.datasets import BaseSegDataset

from ...registry import DATASETS
from .. import metainfo

_METAINFO = {
    'NeuSegDataset': metainfo.NEU_SEG_INSTANCES,
    'SyntheticSegDataset': metainfo.SYNTHETIC_INSTANCES,
    'MagneticTileSegDataset': metainfo.MAGNETIC_TILE,
    'KolektorSddSegDataset': metainfo.KOLEKTOR,
    'KolektorSdd2SegDataset': metainfo.KOLEKTOR,
    'BsDataSegDataset': metainfo.BSDATA,
    'MvtecAdSegDataset': metainfo.ANOMALY,
    'VisaSegDataset': metainfo.ANOMALY,
    'SeverstalSegDataset': metainfo.SEVERSTAL,
    'DagmSegDataset': metainfo.DAGM,
    'CrackForestSegDataset': metainfo.CRACKFOREST,
}
__all__ = ['DefectSegDataset', *_METAINFO]

_IMAGE_SUFFIXES = ('.jpg', '.png', '.bmp')


@DATASETS.register_module()
class DefectSegDataset(BaseSegDataset):
    """Class maps as ``prepare-dataset`` writes them: one folder of images of one suffix.

    Unlike its base it finds out the suffix by itself, so that a config need not tell JPEG sets
    from PNG sets. For a set of one's own, give ``metainfo=dict(classes=..., palette=...)``.
    """

    def load_data_list(self) -> list[dict]:
        """See the base class; ``img_suffix`` is that of the first image in the folder."""
        names = list_dir_or_file(
            self.data_prefix['img_path'],
            list_dir=False,
            suffix=_IMAGE_SUFFIXES,  # type: ignore[arg-type]  # it takes tuples of any length
            recursive=True,
            backend_args=self.backend_args,
        )
        first = next(iter(names), None)
        if first is not None:
            self.img_suffix = splitext(first)[1]
        return super().load_data_list()


for _name, _content in _METAINFO.items():
    _body = dict(
        METAINFO=metainfo.with_background(_content),
        __module__=__name__,
        __doc__=f'{_name[:-10]} class maps.',
    )
    globals()[_name] = DATASETS.register_module(module=type(_name, (DefectSegDataset,), _body))
