# ViTDet (Mask R-CNN) on ManifoldViT-B with the stock key, COCO, 100 epochs. The weights are MAE's.
_base_ = [
    '../_base_/models/vitdet.py',
    '../_base_/datasets/coco-instances-lsj.py',
    '../_base_/schedules/coco_vitdet_100ep.py',
    '../_base_/runtime_detection.py',
]
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='timm://vit_base_patch16_224.mae')),
    roi_head=dict(
        bbox_head=dict(num_classes={{_base_.num_classes}}),
        mask_head=dict(num_classes={{_base_.num_classes}}),
    ),
)
