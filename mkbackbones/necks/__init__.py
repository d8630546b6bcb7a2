"""Parts between backbone and head that dense tasks need."""

from .roi_extractor import FP32RoIExtractor
from .simple_feature_pyramid import SimpleFeaturePyramid

__all__ = ['FP32RoIExtractor', 'SimpleFeaturePyramid']
