# The variant that the paper found best in ViT.
key_cfg = dict(type='VanillaK', num_charts=8)
