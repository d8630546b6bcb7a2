key_cfg = dict(type='KUA', num_charts=8)
