"""A trained model on pictures of any size: boxes, masks and class maps, and files of them."""

from .pictures import PictureError
from .predictor import Outcome, Predictor
from .results import Instance, Prediction

__all__ = ['Instance', 'Outcome', 'PictureError', 'Prediction', 'Predictor']
