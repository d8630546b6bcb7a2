"""From a picture to what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..keys import BasedKey
from ..runner.errors import InputError
from .look import BlockLook, LayerNumbers, choose, look_at, measure
from .models import Opened
from .places import find_places
from .query import Query, query_of
from .watch import watch_pass

__all__ = ['Explanation', 'as_json', 'explain_picture']


@dataclass
class Explanation:
    """What the charts of a model do in one picture.

    Args:
        name (str): The picture.
        canvas (Image): It, as the network takes it.
        query (Query): From where one looks, in pixels of the picture.
        point (tuple[float, float]): The same in pixels of the canvas.
        box (tuple[float, float, float, float] | None): Left, top, width and height of what was
            found there, in pixels of the canvas.
        said (str): What the model says of the picture.
        notes (list[str]): What else there is to know, in sentences.
        layers (list[LayerNumbers]): Every layer with a manifold key.
        looks (list[BlockLook]): The blocks that were looked at.
    """

    name: str
    canvas: Image.Image
    query: Query
    point: tuple[float, float]
    box: tuple[float, float, float, float] | None
    said: str
    notes: list[str] = field(default_factory=list)
    layers: list[LayerNumbers] = field(default_factory=list)
    looks: list[BlockLook] = field(default_factory=list)


def explain_picture(
    opened: Opened,
    path: Path,
    at: tuple[float, float] | None = None,
    blocks: Sequence[int] | None = None,
) -> Explanation:
    """Look at the charts of a model in one picture.

    Args:
        opened (Opened): The model.
        path (Path): The picture.
        at (tuple[float, float], optional): Where to look from, x and y in pixels of the picture.
            Defaults to what is found with the highest score, else the centre.
        blocks (Sequence[int], optional): Which of the blocks with charts, from 0 in their order,
            negative ones from the end. Defaults to the last of each stage, or four of a network of
            one stage.

    Raises:
        InputError: A point or block is not there.
        PictureError: The picture cannot be used.
    """
    taken = opened.take(path)
    picture = taken.picture
    query = query_of(taken.prediction, picture.width, picture.height, at, str(path))
    notes = [note] if (note := opened.slide(taken, (query.x, query.y))) else []
    point = taken.into(query.x, query.y)
    height, width = taken.size
    if not (0 <= point[0] < width and 0 <= point[1] < height):
        raise InputError(
            f'--at {query.x:g},{query.y:g} of {path} is cut off by the transforms of the config, '
            'so the network does not see it: name a point nearer to the centre'
        )
    box = None
    if query.box is not None:
        left, top = taken.into(*query.box[:2])
        box = left, top, query.box[2] * taken.scale[0], query.box[3] * taken.scale[1]
    found = Explanation(str(path), taken.canvas(), query, point, box, taken.said, notes)
    with opened.scope():
        passed = watch_pass(opened.backbone, taken.inputs)
    found.layers = [measure(seen) for seen in passed]
    charted = [
        (seen, n) for seen, n in zip(passed, found.layers) if isinstance(seen.layer.key, BasedKey)
    ]
    first = find_places(passed[0], taken.size) if passed else None
    for number in wanted([seen.block_name for seen, _ in charted], blocks):
        seen, numbers = charted[number]
        places = find_places(seen, taken.size, first)
        look = None if places is None else look_at(seen, places, numbers, point)
        if look is None:
            why = 'where its tokens lie' if places is None else 'what it attends to'
            notes.append(f'{seen.name} ({type(seen.attention).__name__}) does not show {why}')
        else:
            found.looks.append(look)
    return found


def wanted(names: Sequence[str], blocks: Sequence[int] | None) -> list[int]:
    """The numbers of the blocks to look at.

    Raises:
        InputError: One is not there.
    """
    if blocks is None:
        return choose(names)
    for block in blocks:
        if not -len(names) <= block < len(names):
            raise InputError(
                f'--blocks {block} is not there: the backbone has {len(names)} blocks with charts, '
                f'0 to {len(names) - 1}'
            )
    return sorted({block % len(names) for block in blocks})


def as_json(found: Explanation) -> dict[str, Any]:
    """Every number of an explanation, as plain values; maps as lists of rows."""
    return dict(
        picture=found.name,
        query=asdict(found.query),
        point=list(found.point),
        inputs=dict(width=found.canvas.width, height=found.canvas.height),
        said=found.said,
        notes=found.notes,
        layers=[asdict(layer) for layer in found.layers],
        blocks=[look_as_json(look) for look in found.looks],
    )


def look_as_json(look: BlockLook) -> dict[str, Any]:
    """A block: of its key the name of the layer, of what the query sees that part alone."""
    content = {name: getattr(look, name) for name in look.__dataclass_fields__}
    del content['numbers']
    top, left, bottom, right = look.seen
    for name, value in content.items():
        if isinstance(value, np.ndarray):
            whole = name == 'membership'
            content[name] = plain(value if whole else value[..., top:bottom, left:right])
    return dict(layer=look.numbers.layer, **content)


def plain(values: np.ndarray) -> list:
    """An array with four digits, None for NaN."""
    if values.ndim > 1:
        return [plain(one) for one in values]
    return [None if np.isnan(v) else float(f'{v:.4g}') for v in values]
