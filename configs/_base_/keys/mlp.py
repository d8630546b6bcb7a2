# Control: an ordinary MLP key with as many parameters as SpatialK.
key_cfg = dict(type='MLPK', match=dict(type='SpatialK', num_charts=8))
