# Control: an ordinary MLP key with as many parameters as VanillaK.
key_cfg = dict(type='MLPK', match=dict(type='VanillaK', num_charts=8))
