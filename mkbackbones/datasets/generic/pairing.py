"""Which annotation belongs to which image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from mkbackbones.datasets.naming import KIND_WORDS, first_few, stem_of
from mkbackbones.datasets.records import DatasetError
from mkbackbones.datasets.sources import Source, normal_form

__all__ = ['UNANNOTATED', 'pair_files']

UNANNOTATED = ('error', 'negative', 'skip')


def pair_files(
    source: Source,
    images: Sequence[str],
    annotations: Sequence[str],
    *,
    suffix: str = '',
    unannotated: str = 'error',
    skip_bad: bool = False,
) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Pair images with annotations of the same stem.

    Folders that tell but the kind of file do not count: ``line1/images/7.png`` goes with
    ``line1/labels/7.txt``, ``JPEGImages/7.jpg`` with ``Annotations/7.xml``. Where that leaves an
    annotation alone, it goes with the only image of its stem.

    Args:
        source (Source): The set, for messages.
        images (Sequence[str]): Names of the images.
        annotations (Sequence[str]): Names of the annotations.
        suffix (str): End of the annotations' stems that images do not have, e.g. ``_mask``.
        unannotated (str): What an image without an annotation is: an ``error``, a ``negative``
            (it has no defect), or to ``skip``.
        skip_bad (bool): Leave annotations without an image out, with a note, instead of raising.

    Returns:
        tuple[list[tuple[str, str | None]], list[str]]: Image and annotation, in the order of the
        images; and notes on what was left out.

    Raises:
        DatasetError: An annotation without an image or with several, an image with two, or an
            unannotated one that is an error.
    """
    by_key, by_stem = defaultdict(list), defaultdict(list)
    for name in images:
        by_key[_key(name)].append(name)
        by_stem[_key(name)[-1]].append(name)
    found: dict[str, str] = {}
    alone = []
    for name in annotations:
        key = _key(name, suffix)
        candidates = by_key.get(key) or by_stem.get(key[-1]) or []
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
    if alone and not skip_bad:
        raise DatasetError(
            f'{source.path} has no image for {len(alone)} of {len(annotations)} annotation files: '
            f'{first_few(alone)}'
        )
    bare = [name for name in images if name not in found]
    if bare and unannotated == 'error':
        raise DatasetError(
            f'{source.path} has no annotation for {len(bare)} of {len(images)} images: '
            f'{first_few(bare)}; say what they are: --unannotated negative (without defects) or '
            'skip'
        )
    kept = [name for name in images if name in found or unannotated == 'negative']
    notes = [f'left out, since there is no image for it: {name}' for name in alone]
    if len(kept) < len(images):
        notes.append(f'{len(images) - len(kept)} images without an annotation left out')
    return [(name, found.get(name)) for name in kept], notes


def _key(name: str, suffix: str = '') -> tuple[str, ...]:
    path = PurePosixPath(normal_form(name))
    folders = [part for part in path.parts[:-1] if part.lower() not in KIND_WORDS]
    return (*folders, stem_of(path.name).removesuffix(suffix))
