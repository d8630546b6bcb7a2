# Control: the stock key in a layer of its own, with a trained temperature of the logits.
key_cfg = dict(type='LinearK', temperature=True)
