"""NEU-DET: hot-rolled steel strip, 1800 images, six classes, boxes in VOC files."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import DatasetError
from ..images import load_image
from ..metainfo import NEU_DET
from ..naming import natural_order
from ..records import Record
from ..sources import Source
from ..splits import neu_det_split
from ..voc_xml import parse_voc

__all__ = ['NeuDet', 'find_images']

_LAYOUTS = (
    # As published.
    (r'(?:.*/)?IMAGES/([^/]+)\.jpg', r'(?:.*/)?ANNOTATIONS/([^/]+)\.xml'),
    # As most copies have it. The folder of an image and of its annotation need not agree.
    (
        r'(?:.*/)?(?:train|validation)/images/[^/]+/([^/]+)\.jpg',
        r'(?:.*/)?(?:train|validation)/annotations/([^/]+)\.xml',
    ),
)
_LAYOUT_HINT = (
    'expected IMAGES/*.jpg with ANNOTATIONS/*.xml, or '
    '{train,validation}/images/<class>/*.jpg with {train,validation}/annotations/*.xml'
)


class NeuDet:
    """Records of NEU-DET on its leak-free split.

    The class of a box is the one in the XML, which for 188 boxes differs from the file's name.

    Args:
        src (str | Path): The folder or the zip, in either layout.

    Raises:
        DatasetError: No such source, an unknown layout, or an incomplete set.
    """

    classes: tuple[str, ...] = NEU_DET['classes']
    image_dir = 'images'

    def __init__(self, src: str | Path) -> None:
        self.notes: list[str] = []
        self._source = Source(src, 'NEU-DET')
        self._split, self._group = neu_det_split()
        self._stems = natural_order(self._split)
        layout = _layout(self._source)
        self._images, self._annotations = (_by_stem(self._source, pattern) for pattern in layout)
        self._require_all(self._images, 'image', '.jpg')
        self._require_all(self._annotations, 'annotation', '.xml')

    def __len__(self) -> int:
        return len(self._stems)

    def read(self, index: int) -> Record:
        """Image ``index`` in the natural order of the stems.

        Raises:
            DatasetError: A file with a fault.
        """
        stem = self._stems[index]
        name, image_name = self._annotations[stem], self._images[stem]
        where = self._source.where(name)
        annotation = parse_voc(self._source.read(name), where)
        image = load_image(
            self._source.read(image_name),
            self._source.where(image_name),
            size=annotation.size,
            size_from=where,
        )
        instances, fixes = annotation.instances(self.classes, image.width, image.height)
        return Record(
            self._split[stem],
            stem + image.suffix,
            image.content,
            image.width,
            image.height,
            instances,
            group=self._group[stem],
            fixes=image.fixes + fixes,
        )

    def _require_all(self, found: dict[str, str], what: str, suffix: str) -> None:
        needed, there = ([stem + suffix for stem in stems] for stems in (self._stems, found))
        self._source.require(needed, there, what)
        unknown = natural_order(found.keys() - self._split.keys())
        if unknown:
            raise DatasetError(
                f'{self._source.where(found[unknown[0]])} is not part of NEU-DET '
                f'({len(unknown)} such {what} files): remove what was added to the original'
            )


def find_images(source: Source) -> dict[str, str]:
    """Image stem to file name, in either layout of NEU-DET.

    Raises:
        DatasetError: An unknown layout, or two files for one image.
    """
    return _by_stem(source, _layout(source)[0])


def _layout(source: Source) -> tuple[str, str]:
    for layout in _LAYOUTS:
        if any(re.fullmatch(layout[0], name) for name in source.names):
            return layout
    raise DatasetError(f'{source.path} does not look like NEU-DET: {_LAYOUT_HINT}')


def _by_stem(source: Source, pattern: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in source.names:
        match = re.fullmatch(pattern, name)
        if match is None:
            continue
        stem = match.group(1)
        if stem in found:
            raise DatasetError(f'{source.path} has {stem} twice: {found[stem]} and {name}')
        found[stem] = name
    return found
