# DINOv3-S with the levels P3 to P7 (strides 8 to 128), for one-stage detectors.
_base_ = './dinov3-s_p2-p6.py'
pyramid = dict(start_level=1)
