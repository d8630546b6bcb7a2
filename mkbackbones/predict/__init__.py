"""A trained model on pictures of any size: boxes, masks and class maps, and files of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .passes import Outcome
    from .pictures import PictureError
    from .predictor import Predictor
    from .results import Instance, Prediction

__all__ = ['Instance', 'Outcome', 'PictureError', 'Prediction', 'Predictor']

#: Where they are. The model's libraries come with the Predictor: a command finds pictures, and what
#: is wrong with its arguments, without them.
_PLACES = {
    'Instance': 'results',
    'Outcome': 'passes',
    'PictureError': 'pictures',
    'Prediction': 'results',
    'Predictor': 'predictor',
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_PLACES[name]}', __name__), name)
