# NEU-Seg: masks of three defects and background, from `prepare-dataset neu-seg`.
_base_ = '../tasks/semantic.py'
data_root = '{{$MKBACKBONES_DATA:data}}/neu-seg/'
metainfo = dict(
    classes=('background', 'inclusion', 'patches', 'scratches'),
    palette=[(0, 0, 0), (200, 70, 220), (50, 120, 230), (230, 60, 50)],
)
num_classes = len(metainfo['classes'])
query_weights = [1.0] * num_classes + [0.1]  # of Mask2Former: the classes, then 'no object'
image_scale = (448, 448)
train_pipeline = [
    {{_base_.load}},
    {{_base_.annotate}},
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=image_scale, cat_max_ratio=0.95),
    {{_base_.flip}},
    {{_base_.pack}},
]
test_pipeline = [
    {{_base_.load}},
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    {{_base_.annotate}},
    {{_base_.pack}},
]
dataset = dict(data_root=data_root, metainfo=metainfo, img_suffix='.jpg')
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
