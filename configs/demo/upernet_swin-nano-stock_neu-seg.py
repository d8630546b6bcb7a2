# UPerNet on a nano Swin with the stock key, NEU-Seg at 128x128: for studies on a CPU.
_base_ = './upernet_swin-nano-stock.py'
class_weight = [0.25, 1.0, 1.0, 1.0]
model = dict(
    decode_head=dict(num_classes=4, loss_decode=dict(class_weight=class_weight)),
    auxiliary_head=dict(num_classes=4, loss_decode=dict(class_weight=class_weight)),
)
image_scale = (128, 128)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=image_scale, cat_max_ratio=0.95),
    dict(type='RandomFlip', prob=[0.25, 0.25], direction=['horizontal', 'vertical']),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
data_root = '{{$MKBACKBONES_DATA:data}}/neu-seg/'
dataset = dict(type='mkbackbones.NeuSegDataset', data_root=data_root)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
