# The scale of the paper, for a cluster: ImageNet-1K from scratch, then COCO and ADE20K from that
# network. One GPU a run: the batch of 16 needs 80 GB; else lower train_dataloader.batch_size and
# the learning rate together. Weeks on one GPU:
#     python -m mkbackbones study run configs/studies/coco_ade20k.py --executor slurm \
#         --slurm partition=gpu time=10080
# COCO's and ADE20K's val images are their test here. So nothing is picked on them: validation runs
# once, after the last iteration.
name = 'coco_ade20k'
question = 'Does the gain on ImageNet-1K carry over to COCO and ADE20K?'
spatial = dict(type='SpatialK', num_charts=8)
mixing = dict(type='MLPK', match=spatial, spatial=True)
arms = dict(
    stock=dict(label='stock key', role='baseline'),
    mlp=dict(label='MLPK', role='control', backbone=dict(key_cfg=dict(type='MLPK', match=spatial))),
    mixing=dict(label='MLPK, 3x3', role='control', backbone=dict(key_cfg=mixing)),
    spatial=dict(label='SpatialK', backbone=dict(key_cfg=spatial)),
)
never = {'train_cfg.val_interval': 10**9}
size = 224
splits = ('train', 'val', 'test')
train_transforms = [
    dict(type='RandomResizedCrop', size=size, antialias=True),
    dict(type='RandomHorizontalFlip'),
    dict(type='RandAugment'),
]
test_transforms = [
    dict(type='Resize', size=256, antialias=True),
    dict(type='CenterCrop', size=size),
]
tasks = dict(
    classification=dict(
        kind='classification',
        config='../classification/swin-t-stock_tiny100.py',
        primary='top1',
        # ImageNet's folders: train/<class>/*.JPEG and val/<class>/*.JPEG.
        data_root='data/imagenet',
        options={
            'model.num_classes': 1000,
            'train_dataloader.batch_size': 512,
            # Too many to keep in memory, and of all sizes.
            **{f'{split}_dataloader.dataset.in_memory': False for split in splits},
            **{f'{split}_dataloader.num_workers': 12 for split in splits},
            **{f'{split}_dataloader.persistent_workers': True for split in splits},
            'train_dataloader.dataset.transforms': train_transforms,
            'val_dataloader.dataset.transforms': test_transforms,
            'test_dataloader.dataset.transforms': test_transforms,
            'train_cfg.val_interval': 25000,
        },
        iters=750_000,
    ),
    detection=dict(
        kind='instance-segmentation',
        config='../detection/mask-rcnn_swin-t-stock_coco.py',
        primary='AP',
        options={'train_dataloader.batch_size': 16, **never},
    ),
    segmentation=dict(
        kind='segmentation',
        config='../segmentation/upernet_swin-t-stock_ade20k.py',
        primary='mIoU',
        options={'train_dataloader.batch_size': 16, **never},
    ),
)
seeds = [0, 1, 2]
initial_weights = dict(task='classification')
del spatial, mixing, never, size, splits, train_transforms, test_transforms
