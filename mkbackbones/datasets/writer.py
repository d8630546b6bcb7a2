"""The one writer: records to images, COCO files and class maps on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..files import OutputError, atomic_output
from .coco_file import CocoFile, coco_annotation
from .errors import DatasetError, FileFault
from .fingerprint import measure
from .images import encode_png, load_image
from .instances import MIN_AREA, InstanceRule, apply_rule, boxes_as_masks
from .naming import first_few, stem_of
from .records import IGNORE, SPLITS, Converter, Record
from .splitting import SplitItem, Splitter
from .summary import Summary, alike

__all__ = ['write_dataset']

_LAYOUT = ('annotations', 'images', 'masks', 'dataset.json', 'groups.json')
_STAGED_IMAGES, _STAGED_MASKS = 'staged-images', 'staged-masks'


def write_dataset(
    converter: Converter,
    out: str | Path,
    *,
    splitter: Splitter | None = None,
    instances: InstanceRule = 'source',
    min_area: int = MIN_AREA,
    boxes_as_polygons: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    info: Mapping | None = None,
    on_record: Callable[[], None] | None = None,
) -> Summary:
    """Write a data set; on any error nothing is left behind.

    Layout: images in the converter's ``image_dir``, ``annotations/{train,val,test}.json`` in COCO
    format, ``masks/{split}/<stem>.png`` where records have a class map, ``groups.json`` (file stem
    to group) where groups are known, and ``dataset.json`` with classes, counts and what was
    mended. A split without images has no files.

    Args:
        converter (Converter): Source of the records.
        out (str | Path): Folder to create.
        splitter (Splitter | None): How to split; None takes the official split.
        instances (InstanceRule): What an instance is.
        min_area (int): Smallest component in pixels, for ``instances='components'``.
        boxes_as_polygons (bool): Boxes without a mask get the mask of their rectangle.
        overwrite (bool): Replace a non-empty folder.
        skip_bad (bool): Leave out, and list, images that cannot be read.
        info (Mapping | None): More entries for ``dataset.json``, e.g. the name and the palette.
        on_record (Callable[[], None] | None): Called after each image, for a progress bar.

    Returns:
        Summary: Counts per split and class.

    Raises:
        DatasetError: The output exists, or the source has a fault: a FileFault where it is one of
            a single image.
    """
    splitter = splitter or Splitter()
    summary = Summary(converter.classes, notes=[*converter.notes, *alike(converter.classes)])
    with _output(Path(out), overwrite) as root:
        stage = _Stage(root, converter.classes)
        for index in range(len(converter)):
            record = _read(converter, index, summary.skipped if skip_bad else None)
            if record is not None:
                record = boxes_as_masks(record) if boxes_as_polygons else record
                record = apply_rule(record, instances, min_area)
                stage.add(record)
                summary.fixes += record.fixes
                if len(stage.images) == 1:
                    splitter.check(stage.images[0].item)
            if on_record is not None:
                on_record()
        if not stage.images:
            left_out = f': {first_few(summary.skipped, 3)}' if summary.skipped else ''
            raise DatasetError(f'no image is left to write{left_out}')
        summary.notes += stage.unify_suffixes()
        splitting = splitter.assign([image.item for image in stage.images])
        summary.notes += splitting.notes
        official = splitter.method == 'official'
        stated: Collection[str] = getattr(converter, 'splits', ()) if official else ()
        _check_splits(splitting.splits, stated, summary.skipped)
        summary.notes += stage.remark_on_boxes()
        _place(stage, splitting.splits, converter.image_dir, summary)
        if splitting.groups:
            _write_json(root / 'groups.json', dict(sorted(splitting.groups.items())))
        content = dict(info or {})
        content.update(
            classes=list(converter.classes),
            image_dir=converter.image_dir,
            image_suffixes=sorted({Path(image.item.file_name).suffix for image in stage.images}),
            split=splitter.describe(),
            instances=instances,
            **summary.to_dict(),
            files=measure(root),
        )
        _write_json(root / 'dataset.json', content)
    return summary


@contextmanager
def _output(out: Path, overwrite: bool) -> Iterator[Path]:
    """The folder to write into; that it cannot be is told as a fault of the source is."""
    try:
        with atomic_output(out, overwrite=overwrite, expected=_LAYOUT) as root:
            yield root
    except OutputError as error:
        raise DatasetError(str(error)) from error


def _check_splits(splits: list[str], stated: Collection[str], skipped: list[str]) -> None:
    """Refuse a set without images for training, or that has lost a split of its source."""
    lost = sorted(set(stated) - set(splits))
    if 'train' in splits and lost:
        why = f': {first_few(skipped, 3)}' if skipped else ''
        raise DatasetError(f'no image for {" and ".join(lost)} is left{why}')
    if 'train' in splits:
        return
    why = f', of which {len(skipped)} more were left out' if skipped else ''
    raise DatasetError(
        f'no image is for training: all {len(splits)} are for {" and ".join(sorted(set(splits)))}'
        f'{why}; use --split random, or --split group where images share content'
    )


def _read(converter: Converter, index: int, skipped: list[str] | None) -> Record | None:
    """The record; None for a fault that went to ``skipped``."""
    try:
        return converter.read(index)
    except DatasetError as error:
        if skipped is None:
            raise FileFault(str(error)) from error
        skipped.append(str(error))
        return None


@dataclass
class _Staged:
    """A written image that waits for its split."""

    item: SplitItem
    width: int
    height: int
    annotations: list[dict]
    has_mask: bool


class _Stage:
    """Images and masks in one flat folder each, until all are read and the split is known."""

    def __init__(self, root: Path, classes: tuple[str, ...]) -> None:
        self.root, self.classes = root, classes
        self.images: list[_Staged] = []
        self._names: dict[str, str] = {}
        self._objects = self._without_mask = 0
        for folder in (_STAGED_IMAGES, _STAGED_MASKS):
            (root / folder).mkdir()

    def add(self, record: Record) -> None:
        _check(record, self.classes)
        other = self._names.setdefault(record.stem, record.file_name)
        if other != record.file_name or (self.root / _STAGED_IMAGES / other).exists():
            raise DatasetError(f'two images are called {record.stem}: {other}, {record.file_name}')
        (self.root / _STAGED_IMAGES / record.file_name).write_bytes(record.image)
        if record.seg_map is not None:
            self.mask_path(record.stem).write_bytes(encode_png(record.seg_map))
        has_mask = record.seg_map is not None
        annotations = [coco_annotation(item, with_mask=has_mask) for item in record.instances]
        if has_mask:
            self._objects += len(record.instances)
            self._without_mask += sum(item.mask is None for item in record.instances)
        if self.images and self.images[0].has_mask != has_mask:
            names = (record.file_name, self.images[0].item.file_name)
            with_mask, without = names if has_mask else names[::-1]
            raise DatasetError(f'{with_mask} has a class map, but {without} has none')
        self.images.append(
            _Staged(SplitItem.of(record), record.width, record.height, annotations, has_mask)
        )

    def image_path(self, image: _Staged) -> Path:
        return self.root / _STAGED_IMAGES / image.item.file_name

    def mask_path(self, stem: str) -> Path:
        return self.root / _STAGED_MASKS / f'{stem}.png'

    def remark_on_boxes(self) -> list[str]:
        """What becomes of boxes without a mask in a set that has masks."""
        if not self._without_mask:
            return []
        return [
            f'{self._without_mask} of {self._objects} objects are boxes without a mask: box '
            'detectors of mmdet train on them and count them; mask models of mmdet ignore them in '
            'training, and their mask AP counts them as missed; mmseg ignores their pixels (255); '
            '--boxes-as-polygons gives them the mask of their rectangle'
        ]

    def unify_suffixes(self) -> list[str]:
        """Make all images PNG where several suffixes meet class maps: mmseg takes one only."""
        suffixes = {Path(image.item.file_name).suffix for image in self.images}
        if len(suffixes) == 1 or not self.images[0].has_mask:
            return []
        for image in self.images:
            path = self.image_path(image)
            if path.suffix != '.png':
                pixels = load_image(path.read_bytes(), path.name).pixels
                path.unlink()
                values = vars(image.item) | dict(file_name=f'{path.stem}.png')
                image.item = SplitItem(**values)
                self.image_path(image).write_bytes(encode_png(pixels))
        return [
            f'images with the suffixes {", ".join(sorted(suffixes))} were written as PNG, since '
            'mmseg takes one suffix'
        ]


def _place(stage: _Stage, splits: list[str], image_dir: str, summary: Summary) -> None:
    """Move staged files to their splits and write the annotation files."""
    files = {split: CocoFile(stage.classes) for split in SPLITS if split in splits}
    for image, split in zip(stage.images, splits):
        name = image.item.file_name
        summary.add(split, image.width, image.height, image.annotations)
        files[split].add(name, image.width, image.height, image.annotations)
        _move(stage.image_path(image), stage.root / image_dir.format(split=split))
        if image.has_mask:
            _move(stage.mask_path(stem_of(name)), stage.root / 'masks' / split)
    for folder in (_STAGED_IMAGES, _STAGED_MASKS):
        (stage.root / folder).rmdir()
    (stage.root / 'annotations').mkdir()
    for split, file in files.items():
        (stage.root / 'annotations' / f'{split}.json').write_text(file.to_json(), encoding='utf-8')


def _move(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path.rename(folder / path.name)


def _write_json(path: Path, content: Mapping) -> None:
    # The source may have a name that is no UTF-8: it is written as JSON escapes it.
    text = json.dumps(content, indent=1, ensure_ascii=False) + '\n'
    path.write_text(text, encoding='utf-8', errors='backslashreplace')


def _check(record: Record, classes: tuple[str, ...]) -> None:
    """What every data set must fulfil, whatever its source."""
    name = record.file_name
    if record.split not in (*SPLITS, None):
        raise DatasetError(f'{name}: split {record.split!r} is none of {", ".join(SPLITS)}')
    for instance in record.instances:
        x, y, width, height = instance.bbox
        if not 0 <= instance.label < len(classes):
            raise DatasetError(f'{name}: label {instance.label} of {len(classes)} classes')
        if width <= 0 or height <= 0:
            raise DatasetError(f'{name}: empty box {instance.bbox}')
        if x < 0 or y < 0 or x + width > record.width + 1e-6 or y + height > record.height + 1e-6:
            raise DatasetError(
                f'{name}: box {instance.bbox} (x, y, width, height) leaves the image of '
                f'{record.width}x{record.height} pixels'
            )
    if record.seg_map is None:
        return
    if record.seg_map.shape != (record.height, record.width):
        raise DatasetError(
            f'{name}: class map of {record.seg_map.shape[1]}x{record.seg_map.shape[0]} pixels for '
            f'an image of {record.width}x{record.height}'
        )
    if len(classes) >= IGNORE:
        raise DatasetError(f'{len(classes)} classes do not fit in a class map: at most 254 do')
