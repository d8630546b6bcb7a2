# The question in a form that takes a quarter of an hour on one large GPU: a small Swin learns forty
# classes of tiny images, and goes on, with that very network, to find and to segment steel defects.
# Short schedules from weak weights: differences are real, scores are far from what is reachable.
# tiny40 is tiny100's first forty classes by name; NEU-DET and NEU-Seg from `prepare-dataset`.
name = 'neu_small'
question = (
    'Does what a manifold key gains in classification carry over to steel defects, for a small '
    'Swin and short schedules?'
)
arch = dict(embed_dims=64, depths=(2, 2, 4, 2), num_heads=(2, 4, 8, 16))
spatial = dict(type='SpatialK', num_charts=8)
arms = dict(
    stock=dict(label='stock key', role='baseline', backbone=dict(arch=arch)),
    mlp=dict(
        label='MLPK',
        role='control',
        backbone=dict(arch=arch, key_cfg=dict(type='MLPK', match=spatial)),
    ),
    spatial=dict(label='SpatialK', backbone=dict(arch=arch, key_cfg=spatial)),
)
loading = {
    'train_dataloader.num_workers': 1,
    'val_dataloader.num_workers': 1,
    'test_dataloader.num_workers': 1,
}
tasks = dict(
    classification=dict(
        kind='classification',
        config='../classification/swin-t-stock_tiny100.py',
        primary='top1',
        data_root='{{$MKBACKBONES_DATA:data}}/tiny40',
        iters=800,
        options={
            **loading,
            'model.num_classes': 40,
            'model.in_channels': 512,
            'train_cfg.val_interval': 3000,
            'optim_wrapper.optimizer.lr': 1e-3,
        },
    ),
    detection=dict(
        kind='detection',
        config='../detection/faster-rcnn_swin-t-stock_neu-det.py',
        primary='AP',
        iters=500,
        options={
            **loading,
            'model.neck.in_channels': [64, 128, 256, 512],
            'train_dataloader.dataset.pipeline.2.scale': (320, 320),
            'val_dataloader.dataset.pipeline.1.scale': (320, 320),
            'test_dataloader.dataset.pipeline.1.scale': (320, 320),
            'train_cfg.val_interval': 3000,
            'optim_wrapper.optimizer.lr': 3e-4,
        },
    ),
    segmentation=dict(
        kind='segmentation',
        config='../segmentation/upernet_swin-t-stock_neu-seg.py',
        primary='mIoU',
        iters=500,
        options={
            **loading,
            'model.decode_head.in_channels': [64, 128, 256, 512],
            'model.auxiliary_head.in_channels': 256,
            'train_dataloader.dataset.pipeline.2.scale': (320, 320),
            'train_dataloader.dataset.pipeline.3.crop_size': (320, 320),
            'val_dataloader.dataset.pipeline.1.scale': (320, 320),
            'test_dataloader.dataset.pipeline.1.scale': (320, 320),
            'train_cfg.val_interval': 3000,
            'optim_wrapper.optimizer.lr': 3e-4,
        },
    ),
)
seeds = [0, 1, 2, 3, 4]
initial_weights = dict(task='classification')
del arch, spatial, loading
