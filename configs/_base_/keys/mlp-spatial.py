# Control: an ordinary MLP key with as many parameters as SpatialK and the same 3x3 mixing.
key_cfg = dict(type='MLPK', match=dict(type='SpatialK', num_charts=8), spatial=True)
