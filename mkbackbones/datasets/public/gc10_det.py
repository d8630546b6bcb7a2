"""GC10-DET: 2,300 photographs of steel sheets, ten kinds of defect, boxes in VOC files."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from ..errors import DatasetError
from ..images import load_image
from ..metainfo import GC10_DET
from ..naming import first_few, natural_order, stem_of
from ..records import Record
from ..sources import Source
from ..voc_xml import VocAnnotation, parse_voc

__all__ = ['Gc10Det']

_IMAGE = re.compile(r'.*\.jpe?g', re.IGNORECASE)
_ANNOTATION = re.compile(r'(?:.*/)?(?:lable|label|labels|annotations)/[^/]+\.xml', re.IGNORECASE)
_PINYIN = (
    'chongkong',
    'hanfeng',
    'yueyawan',
    'shuiban',
    'youban',
    'siban',
    'yiwu',
    'yahen',
    'zhehen',
    'yaozhe',
)
_CLASS = re.compile(r'(10|[1-9])?_?([a-z]+)')


class Gc10Det:
    """Records of GC10-DET, without an official split.

    The images lie in folders ``1`` to ``10`` by defect, the annotations in ``lable`` (sic). What
    the published set has wrong, and what happens to it:

    * class names such as ``10_yaozhed`` and ``yaozhed`` are read as ``10_yaozhe``; an object of
      another unknown name (there is one called ``d``) is dropped and counted;
    * an image that lies in two folders is taken from the folder of one of its objects' classes;
    * images without an annotation and annotations without an image are left out and named;
    * an annotation without an object leaves the image as a negative, and is named.

    Photographs ``img_<camera>_<time>_<number>.jpg`` of one camera and time are one run along a
    sheet and form a group.

    Args:
        src (str | Path): The folder or the zip.

    Raises:
        DatasetError: No such source, or an unknown layout.
    """

    classes: tuple[str, ...] = GC10_DET['classes']
    image_dir = 'images/{split}'

    def __init__(self, src: str | Path) -> None:
        self._source = source = Source(src, 'GC10-DET')
        annotations = {stem_of(name): name for name in source.names if _ANNOTATION.fullmatch(name)}
        self._images: dict[str, list[str]] = defaultdict(list)
        for name in source.names:
            if _IMAGE.fullmatch(name):
                self._images[stem_of(name)].append(name)
        stems = natural_order(annotations.keys() & self._images.keys())
        if not stems:
            raise DatasetError(
                f'{source.path} does not look like GC10-DET: expected 1/*.jpg to 10/*.jpg with '
                'lable/*.xml'
            )
        self._rows = [(stem, annotations[stem]) for stem in stems]
        bare = natural_order(self._images.keys() - annotations.keys())
        lost = natural_order(annotations.keys() - self._images.keys())
        self.notes = [
            f'left out, {what}: {len(names)} ({first_few(names)})'
            for what, names in (
                ('images without annotation', bare),
                ('annotations without image', lost),
            )
            if names
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> Record:
        """Image ``index`` in the natural order of the file names.

        Raises:
            DatasetError: A file with a fault.
        """
        stem, name = self._rows[index]
        where = self._source.where(name)
        annotation = parse_voc(self._source.read(name), where)
        fixes = self._mend_names(annotation)
        image_name = self._pick(stem, annotation, fixes)
        image = load_image(
            self._source.read(image_name),
            self._source.where(image_name),
            size=annotation.size,
            size_from=where,
        )
        instances, mended = annotation.instances(self.classes, image.width, image.height)
        if not annotation.objects:
            fixes.append(f'annotation without an object, image kept as a negative: {where}')
        return Record(
            None,
            stem + image.suffix,
            image.content,
            image.width,
            image.height,
            instances,
            group=re.sub(r'_\d+$', '', stem),
            fixes=image.fixes + fixes + mended,
        )

    def _mend_names(self, annotation: VocAnnotation) -> list[str]:
        """Turn the names of the objects into class names; drop objects of no class."""
        known, fixes = [], []
        for item in annotation.objects:
            label = _label(item.name)
            if label is None:
                fixes.append(f'object of the unknown class {item.name!r} dropped: {item.where}')
                continue
            item.name = self.classes[label]
            known.append(item)
        annotation.objects = known
        return fixes

    def _pick(self, stem: str, annotation: VocAnnotation, fixes: list[str]) -> str:
        """The image of a stem, by the folder of its classes where there are several."""
        names = self._images[stem]
        if len(names) == 1:
            return names[0]
        folders = {str(self.classes.index(item.name) + 1) for item in annotation.objects}
        fitting = [
            name for name in names if name.split('/')[-2:-1] and name.split('/')[-2] in folders
        ]
        chosen = (fitting or names)[0]
        fixes.append(f'image in several folders, one taken: {self._source.where(chosen)}')
        return chosen


def _label(name: str) -> int | None:
    """Class of an object's name: ``10_yaozhed``, ``Yaozhe``, or the English name."""
    name = name.strip().lower().replace(' ', '_').replace('-', '_')
    if name in GC10_DET['classes']:
        return GC10_DET['classes'].index(name)
    match = _CLASS.fullmatch(name)
    if match is None:
        return None
    word = match.group(2)
    for label, pinyin in enumerate(_PINYIN):
        if word in (pinyin, f'{pinyin}d'):
            return label
    return None
