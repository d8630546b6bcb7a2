"""Which annotation belongs to which image."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import Literal, get_args

from ..errors import DatasetError
from ..formats import reader_hint
from ..images import is_image
from ..naming import KIND_WORDS, first_few, folder_split, stem_of
from ..sources import Source, normal_form

__all__ = ['UNANNOTATED', 'match_files', 'pair_files']

_UNREAD = ('.gif', '.jp2', '.pbm', '.pgm', '.ppm', '.heic', '.avif', '.jxl', '.npy', '.dcm', '.dng')
_TEXTS = ('.txt', '.json', '.xml', '.csv', '.yaml', '.yml')
_ARCHIVES = ('.zip', '.tar', '.gz', '.tgz', '.bz2', '.xz', '.7z', '.rar', '.zst')
Unannotated = Literal['error', 'negative', 'skip']
UNANNOTATED: tuple[Unannotated, ...] = get_args(Unannotated)


def pair_files(
    source: Source,
    images: Sequence[str],
    annotations: Sequence[str],
    *,
    suffix: str = '',
    unannotated: Unannotated = 'error',
    skip_bad: bool = False,
    own: str = '',
    others: Collection[str] = (),
) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Pair images with annotations of the same stem.

    Folders that tell but the kind of file do not count: ``line1/images/7.png`` goes with
    ``line1/labels/7.txt``, ``JPEGImages/7.jpg`` with ``Annotations/7.xml``. Where that leaves an
    annotation alone, it goes with the only image of its stem whose folders do not contradict:
    those of one lie on the path of the other. ``line1/7.txt`` never goes with ``line2/7.png``.

    Args:
        source (Source): The set, for messages.
        images (Sequence[str]): Names of the images.
        annotations (Sequence[str]): Names of the annotations.
        suffix (str): End of the annotations' stems that images do not have, e.g. ``_mask``.
        unannotated (Unannotated): What an image without an annotation is: an ``error``, a
            ``negative`` (it has no defect), or to ``skip``.
        skip_bad (bool): Leave annotations without an image out, with a note, instead of raising.
        own (str): Format of the annotations, where it is one that is read as text.
        others (Collection[str]): Files that are known to be no annotation.

    Returns:
        tuple[list[tuple[str, str | None]], list[str]]: Image and annotation, in the order of the
        images; and notes on what was left out.

    Raises:
        DatasetError: An annotation without an image or with several, an image with two, an
            unannotated one that is an error, or a negative beside which lies what may be its
            annotation in another form.
    """
    found, alone = match_files(source, images, annotations, suffix)
    if alone and not skip_bad:
        hint = reader_hint(source.read(alone[0]), own) if own else ''
        hint = hint or _unread(source, alone[0], suffix)
        raise DatasetError(
            f'{source.path} has no image for {len(alone)} of {len(annotations)} annotation files: '
            f'{first_few(alone)}{hint}'
        )
    bare = [name for name in images if name not in found]
    if bare and unannotated == 'error':
        raise DatasetError(
            f'{source.path} has no annotation for {len(bare)} of {len(images)} images: '
            f'{first_few(bare)}; say what they are: --unannotated negative (without defects) or '
            'skip'
        )
    if bare and unannotated == 'negative':
        _check_negatives(source, images, bare, {*found.values(), *others}, own or 'YOLO')
    kept = [name for name in images if name in found or unannotated == 'negative']
    notes = [f'left out, since there is no image for it: {name}' for name in alone]
    if bare and unannotated == 'negative':
        folders = {name.rpartition('/')[0] for name in bare}
        whole = sorted(folders - {name.rpartition('/')[0] for name in found})
        hint = f' (none of those in {first_few(whole)} has one)' if whole else ''
        notes.append(
            f'{len(bare)} of {len(images)} images have no annotation file and count as free of '
            f'defects{hint}; --unannotated skip leaves them out'
        )
    if len(kept) < len(images):
        notes.append(f'{len(images) - len(kept)} images without an annotation left out')
    return [(name, found.get(name)) for name in kept], notes


def _check_negatives(
    source: Source, images: Sequence[str], bare: Sequence[str], read: Collection[str], own: str
) -> None:
    """Refuse negatives whose annotation may be there, but is not read.

    Raises:
        DatasetError: A file in another form (b.json, b.txt.gz, b, .b.txt, a folder b.txt) that has
            the stem of an image without an annotation, or an archive beside the files.
    """
    without = set(bare)
    by_stem = defaultdict(list)
    for name in images:
        key = _key(name)
        by_stem[key[-1]].append((name, key))
    folders = [name for name in source.folders if PurePosixPath(name).suffix.lower() in _TEXTS]
    for name in [*source.names, *folders]:
        if name in read or is_image(name):
            continue
        if name.lower().endswith(_ARCHIVES) and stem_of(name).lower() in KIND_WORDS:
            raise DatasetError(
                f'{source.where(name)} is not read, and {len(without)} images have no annotation: '
                'unpack it'
            )
        key = _key(name)
        stem = next((stem for stem in _stems(PurePosixPath(name).name) if stem in by_stem), None)
        same = [] if stem is None else by_stem[stem]
        near = [image for image, other in same if _agree(key, other)]
        doubtful = [image for image in near or [image for image, _ in same] if image in without]
        if doubtful:
            raise DatasetError(
                f'{source.where(name)} is not read as an annotation, but has the name of '
                f'{doubtful[0]}, which has none and would count as free of defects: bring it to '
                f'the form of the others, or remove it{reader_hint(_content(source, name), own)}'
            )


def _content(source: Source, name: str) -> bytes:
    """A file for a hint at its format; nothing where it is no text."""
    is_text = PurePosixPath(name).suffix.lower() in ('', '.text', *_TEXTS)
    return source.read(name) if is_text and name in source.names else b''


def _stems(name: str) -> list[str]:
    """What may be the stem of a file, the longest first: b.txt.gz, b.txt and b."""
    parts = normal_form(name).lstrip('.').split('.')
    return ['.'.join(parts[:count]) for count in range(len(parts), 0, -1)]


def _unread(source: Source, annotation: str, suffix: str) -> str:
    """A hint at a picture of that stem in a format that is not read."""
    stem = _key(annotation, suffix)[-1]
    for name in source.names:
        ending = PurePosixPath(name).suffix.lower()
        if ending in _UNREAD and _key(name)[-1] == stem:
            return f'; {name} is of a format that is not read: convert it to PNG'
    return ''


def match_files(
    source: Source, images: Sequence[str], annotations: Sequence[str], suffix: str = ''
) -> tuple[dict[str, str], list[str]]:
    """The annotation of each image that has one, and the annotations without an image.

    Args:
        source (Source): The set, for messages.
        images (Sequence[str]): Names of the images.
        annotations (Sequence[str]): Names of the annotations.
        suffix (str): End of the annotations' stems that images do not have.

    Raises:
        DatasetError: An annotation with several images, or an image with two.
    """
    by_key, by_stem = defaultdict(list), defaultdict(list)
    image_root, own_root = _kind_roots(images, annotations)
    for name in images:
        key = _key(name.removeprefix(image_root))
        by_key[key].append(name)
        by_stem[key[-1]].append((name, key))
    found: dict[str, str] = {}
    alone = []
    for name in annotations:
        key = _key(name.removeprefix(own_root), suffix)
        candidates = by_key.get(key) or [
            image for image, other in by_stem.get(key[-1], ()) if _agree(key, other)
        ]
        if len(candidates) > 1:
            raise DatasetError(
                f'{source.where(name)} may belong to {first_few(candidates)}: give one of the '
                'images another name'
            )
        if not candidates:
            alone.append(name)
        elif found.setdefault(candidates[0], name) != name:
            raise DatasetError(
                f'{source.where(candidates[0])} has two annotations: {found[candidates[0]]} and '
                f'{name}'
            )
    return found, alone


def _key(name: str, suffix: str = '') -> tuple[str, ...]:
    path = PurePosixPath(normal_form(name))
    folders = [_telling(part) for part in path.parts[:-1]]
    return (*(part for part in folders if part), stem_of(path.name).removesuffix(suffix))


def _telling(folder: str) -> str:
    """A folder without the words that tell the kind of file: images_train becomes train."""
    words = re.split(r'[\W_]+', folder)
    kept = [word for word in words if word and word.lower() not in KIND_WORDS]
    return folder if len(kept) == len(words) else '_'.join(kept)


def _agree(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the folders of one are among those of the other, in their order."""
    short, long = sorted((one[:-1], other[:-1]), key=len)
    rest = iter(long)
    return all(part in rest for part in short)


def _kind_roots(images: Sequence[str], annotations: Sequence[str]) -> tuple[str, str]:
    """The outermost folders, where they hold nothing but the one kind: pictures/ and defects/.

    Folders that hold one kind below them (line1/images) tell the part of the set instead.
    """
    roots = []
    for names in (images, annotations):
        tops = {name.partition('/')[0] if '/' in name else '' for name in names}
        if len(tops) != 1 or '' in tops or folder_split(f'{min(tops)}/x'):
            return '', ''
        inner = {part for name in names for part in name.split('/')[1:-1]}
        if any(_telling(part) != part for part in inner):
            return '', ''
        roots.append(f'{min(tops)}/')
    return (roots[0], roots[1]) if roots[0] != roots[1] else ('', '')
