"""Groups of pictures that share content, directly or through others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ['group_keys']


def group_keys(keys: Sequence[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name the group of each picture.

    Args:
        keys (Sequence[str]): All pictures, in the order that decides on the names.
        pairs (Iterable[tuple[str, str]]): What shares content.

    Returns:
        dict[str, str]: Picture to group; a group is called after its first picture.
    """
    place = {key: index for index, key in enumerate(keys)}
    edges = [(place[first], place[second]) for first, second in pairs]
    rows, columns = zip(*edges) if edges else ((), ())
    graph = coo_matrix(([True] * len(edges), (rows, columns)), shape=(len(keys), len(keys)))
    _, labels = connected_components(graph, directed=False)
    first: dict[int, str] = {}
    return {key: first.setdefault(int(label), key) for key, label in zip(keys, labels)}
