# ViTDet (Mask R-CNN) on ManifoldViT-B with the stock key, NEU-Seg.
_base_ = [
    '../_base_/models/vitdet.py',
    '../_base_/datasets/neu-seg-instances.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime_detection.py',
]
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes={{_base_.num_classes}}),
        mask_head=dict(num_classes={{_base_.num_classes}}),
    ),
)
optim_wrapper = dict(
    constructor='mkbackbones.LayerDecayConstructor',
    paramwise_cfg=dict(_delete_=True, decay_rate=0.7),
)
