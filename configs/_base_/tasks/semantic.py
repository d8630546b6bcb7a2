# What the data sets with one class a pixel share. A file in ../datasets adds where a set lies, its
# classes and its scale, and puts these steps together.
load = dict(type='LoadImageFromFile')
annotate = dict(type='LoadAnnotations')
flip = dict(type='RandomFlip', prob=[0.25, 0.25], direction=['horizontal', 'vertical'])
pack = dict(type='PackSegInputs')
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='mkbackbones.DefectSegDataset',
        data_prefix=dict(img_path='images/train', seg_map_path='masks/train'),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mkbackbones.DefectSegDataset',
        data_prefix=dict(img_path='images/val', seg_map_path='masks/val'),
    ),
)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(
        val_dataloader['dataset'],
        data_prefix=dict(img_path='images/test', seg_map_path='masks/test'),
    ),
)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU', 'mFscore'])
test_evaluator = dict(val_evaluator)
