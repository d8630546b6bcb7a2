# Image classification: 100 classes of Tiny ImageNet in an image folder, 64x64. Unpack tiny100.zip
# into data/. It has train and val folders alone, so val is the test split, and every tenth training
# image of a class is the val split (see mkbackbones.classification.ImageFolder). The pictures are
# decoded once and augmented in batches on the GPU: loaders would keep eight cores busy.
data_root = '{{$MKBACKBONES_DATA:data}}/tiny100/'
num_classes = 100
# 112 is half of ImageNet's 224: with patches of 4 and windows of 7, Swin's stages have 28, 14, 7
# and 4 tokens a side. So the network keeps the windows that it has in detectors and segmentors; at
# 64, three of its four stages would be smaller than a window.
image_size = 112
train_transforms = [
    dict(type='RandomResizedCrop', size=image_size, scale=(0.35, 1.0), antialias=True),
    dict(type='RandomHorizontalFlip'),
]
test_transforms = [dict(type='Resize', size=(image_size, image_size), antialias=True)]
train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='mkbackbones.ImageFolder',
        data_root=data_root,
        split='train',
        transforms=train_transforms,
        in_memory=True,
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mkbackbones.ImageFolder',
        data_root=data_root,
        split='val',
        transforms=test_transforms,
        in_memory=True,
    ),
)
test_dataloader = dict(val_dataloader, dataset=dict(val_dataloader['dataset'], split='test'))
val_evaluator = dict(type='mkbackbones.Accuracy')
test_evaluator = val_evaluator
