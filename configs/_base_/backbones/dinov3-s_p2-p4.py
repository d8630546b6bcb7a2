# DINOv3-S with the levels P2 to P4 (strides 4 to 16), for DeepLabV3+: its last map is at stride 16.
_base_ = './dinov3-s_p2-p5.py'
pyramid = dict(num_outs=3)
