# Your own class maps, in the layout that `prepare-dataset` writes:
#
#   own/images/{train,val,test}/   the images
#   own/masks/{train,val,test}/    a PNG of the same stem each; its pixels are class numbers
#
# Copy this file and change the four marked places; the heads follow the number of classes.
_base_ = '../tasks/semantic.py'
data_root = '{{$MKBACKBONES_DATA:data}}/own/'  # 1. the folder
classes = ('background', 'scratch', 'dent')  # 2. the names of classes 0, 1, 2, ...
palette = [(0, 0, 0), (230, 60, 50), (50, 120, 230)]  # 3. a colour each, for pictures
num_classes = len(classes)
query_weights = [1.0] * num_classes + [0.1]  # of Mask2Former: the classes, then 'no object'
image_scale = (1024, 512)  # 4. images are scaled to fit, whichever way they lie ...
crop_size = (512, 512)  # ... and cropped for training: height, width
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
dataset = dict(data_root=data_root, metainfo=dict(classes=classes, palette=palette))
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
