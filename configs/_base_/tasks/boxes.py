# What the data sets with boxes share. A file in ../datasets adds where a set lies (as
# `prepare-dataset NAME` writes it), its classes and its scale, and puts these steps together.
load = dict(type='LoadImageFromFile', backend_args=None)
annotate = dict(type='LoadAnnotations', with_bbox=True)
flip = dict(
    type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
)
pack = dict(type='PackDetInputs')
pack_test = dict(
    type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
)
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_sampler=None,
    dataset=dict(
        type='CocoDataset',
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/train/'),
        # Images without a defect stay: they teach what a good surface looks like.
        filter_cfg=dict(filter_empty_gt=False),
    ),
)
val_dataloader = dict(
    # Pictures of several sizes would be padded to each other in a batch, which changes what is
    # found in them. Sets with pictures of one size take more.
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/val/'),
        test_mode=True,
    ),
)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(
        val_dataloader['dataset'],
        ann_file='annotations/test.json',
        data_prefix=dict(img='images/test/'),
    ),
)
val_evaluator = dict(type='CocoMetric', metric='bbox', classwise=True)
test_evaluator = dict(val_evaluator)
