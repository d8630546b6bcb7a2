# The variant that the paper found best in Swin.
key_cfg = dict(type='SpatialK', num_charts=8)
