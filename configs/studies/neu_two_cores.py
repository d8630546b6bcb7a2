# The question at the scale of two CPU cores and two hours (`study run ... --slots 2`): a nano Swin
# learns forty classes of tiny images, and goes on, with that very network, to find and to segment
# steel defects. Short schedules from weak weights: scores are far from what is reachable.
# tiny40 is the first forty classes of tiny100 by name; NEU-DET and NEU-Seg by `prepare-dataset`.
name = 'neu_two_cores'
question = (
    'Does what a manifold key gains in classification carry over to steel defects, for a nano '
    'Swin and short schedules?'
)
arch = dict(embed_dims=32, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8))
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
tasks = dict(
    classification=dict(
        kind='classification',
        config='../classification/swin-t-stock_tiny100.py',
        primary='top1',
        data_root='{{$MKBACKBONES_DATA:data}}/tiny40',
        iters=500,
        options={
            'model.num_classes': 40,
            'model.in_channels': 256,
            'model.backbone.drop_path_rate': 0.0,
            # 64 pixels at seven eighths, as 224 of 256: stages of 14, 7, 4 and 2 tokens a side.
            'train_dataloader.dataset.transforms.0.size': 56,
            'val_dataloader.dataset.transforms.0.size': (56, 56),
            'test_dataloader.dataset.transforms.0.size': (56, 56),
            'train_dataloader.batch_size': 64,
            # Batches in memory are scaled up alone.
            'train_dataloader.dataset.in_memory': False,
            'val_dataloader.dataset.in_memory': False,
            'test_dataloader.dataset.in_memory': False,
            'optim_wrapper.type': 'OptimWrapper',
            'optim_wrapper.optimizer.lr': 1e-3,
        },
    ),
    detection=dict(
        kind='detection',
        config='../demo/faster-rcnn_swin-nano-stock_neu-det.py',
        primary='AP',
        iters=700,
    ),
    segmentation=dict(
        kind='segmentation',
        config='../demo/upernet_swin-nano-stock_neu-seg.py',
        primary='mIoU',
        iters=600,
    ),
)
seeds = [0, 1, 2, 3, 4]
initial_weights = dict(task='classification')
del arch, spatial
