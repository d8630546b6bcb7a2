"""What the charts of a trained network do in a picture."""

from .look import BlockLook, LayerNumbers
from .models import Opened
from .run import Explanation, explain_picture

__all__ = ['BlockLook', 'Explanation', 'LayerNumbers', 'Opened', 'explain_picture']
