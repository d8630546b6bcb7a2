# ViT-B; otherwise as its smaller sibling.
_base_ = './vit-s_p2-p4.py'
vit = dict(arch='base')
pretrained_vit = dict(arch='base', init_cfg=dict(checkpoint='timm://deit_base_patch16_224.fb_in1k'))
pyramid = dict(in_channels=768)
