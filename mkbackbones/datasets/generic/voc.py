"""Pascal VOC: one XML an image."""

from __future__ import annotations

from pathlib import PurePosixPath

from ..naming import folder_split, stem_of
from ..sources import ONE_IMAGE, Source
from ..text import decode_text
from ..voc_xml import VocAnnotation, parse_voc
from .annotated import AnnotatedFiles

__all__ = ['Voc']

# trainval comes first, so that train and val, where they exist, have the last word.
_LISTS = dict(trainval='train', train='train', val='val', test='test')


class Voc(AnnotatedFiles[VocAnnotation]):
    """Records of images with VOC files, matched by stem; arguments of :class:`AnnotatedFiles`.

    The official split is that of ``ImageSets/Main/{train,val,trainval,test}.txt`` where there are
    such lists, else that of the folders.
    """

    what = 'Pascal VOC'
    suffix = '.xml'

    def _official(self, source: Source, images: list[str]) -> list[str | None]:
        return _splits(source, images)

    def _empty(self) -> VocAnnotation:
        return VocAnnotation(None, [])

    def _parse(self, name: str) -> VocAnnotation:
        return parse_voc(self._source.read(name, ONE_IMAGE), self._source.where(name))


def _splits(source: Source, images: list[str]) -> list[str | None]:
    listed: dict[str, str] = {}
    for stem, split in _LISTS.items():
        for name in source.names:
            path = PurePosixPath(name)
            if path.parts[-3:] == ('ImageSets', 'Main', f'{stem}.txt'):
                lines = decode_text(source.read(name), source.where(name)).splitlines()
                listed.update((line.strip(), split) for line in lines)
    if not listed:
        return [folder_split(name) for name in images]
    return [listed.get(stem_of(name), listed.get(PurePosixPath(name).name)) for name in images]
