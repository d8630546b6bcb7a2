"""What a run leaves per test image, from which every metric can be computed again.

What chance the test images are follows from the metrics with each group of them left out. Evidence
keeps just enough of each image for that, and computes all of them at once.
"""

from .base import Evidence, load_evidence
from .classification import ClassificationEvidence
from .detection import DetectionEvidence
from .segmentation import SegmentationEvidence

__all__ = [
    'ClassificationEvidence',
    'DetectionEvidence',
    'Evidence',
    'SegmentationEvidence',
    'load_evidence',
]
