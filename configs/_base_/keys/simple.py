key_cfg = dict(type='SimpleK', num_charts=8)
