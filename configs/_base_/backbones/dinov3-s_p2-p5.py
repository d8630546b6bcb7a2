# DINOv3-S with the levels P2 to P5 (strides 4 to 32), for segmentation: crops are small enough for
# global attention in every block.
_base_ = './dinov3-s_p2-p6.py'
vit = dict(window_size=0)
pretrained_vit = dict(window_size=0)
pyramid = dict(num_outs=4)
