# A linear head on ManifoldSwin-T with the stock key, Tiny ImageNet's 100 classes, from scratch.
_base_ = [
    '../_base_/datasets/tiny100.py',
    '../_base_/schedules/adamw_12k.py',
    '../_base_/runtime.py',
]
model = dict(
    type='mkbackbones.ImageClassifier',
    backbone=dict(type='mkbackbones.ManifoldSwin', arch='tiny', drop_path_rate=0.2),
    num_classes={{_base_.num_classes}},
    in_channels=768,
    label_smoothing=0.1,
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'))
