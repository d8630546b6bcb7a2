# ViT-S with the levels P3 to P7 (strides 8 to 128), for one-stage detectors.
_base_ = './vit-s_p2-p6.py'
pyramid = dict(start_level=1)
