# DINOv3-S with the levels P3 to P5 (strides 8 to 32), for RTMDet.
_base_ = './dinov3-s_p2-p6.py'
pyramid = dict(start_level=1, num_outs=3)
