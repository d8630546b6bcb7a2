"""Image classification in plain mmengine: a backbone with a linear head, image folders, top-1."""

from .accuracy import Accuracy
from .classifier import ImageClassifier
from .image_folder import ImageFolder

__all__ = ['Accuracy', 'ImageClassifier', 'ImageFolder']
