# BSData: background and pitting on ball screw drives, about 1130x460.
_base_ = '../tasks/semantic.py'
data_root = '{{$MKBACKBONES_DATA:data}}/bsdata/'
num_classes = 2
query_weights = [1.0] * num_classes + [0.1]  # of Mask2Former: the classes, then 'no object'
image_scale = (1152, 512)  # width and height, in either order
crop_size = (512, 512)  # height, width
train_pipeline = [
    {{_base_.load}},
    {{_base_.annotate}},
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.95),
    {{_base_.flip}},
    {{_base_.pack}},
]
test_pipeline = [
    {{_base_.load}},
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    {{_base_.annotate}},
    {{_base_.pack}},
]
dataset = dict(type='mkbackbones.BsDataSegDataset', data_root=data_root)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
