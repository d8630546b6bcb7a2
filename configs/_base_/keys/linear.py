# Control: the stock key in a layer of its own.
key_cfg = dict(type='LinearK')
