# The study at full size: Swin-T learns 100 classes, then goes on, that very network, to find steel
# defects (NEU-DET), to segment them (NEU-Seg), and to segment defects of magnetic tiles. For two
# GPUs and a few hours, in parts if need be (docs/study-machines.md), one part four times:
#     python -m mkbackbones study run configs/studies/neu_mt_gpu.py --slots 13 --part 1/4
# Where its settings come from: configs/studies/neu_mt_gpu_settings.py and neu_mt_gpu_key_rates.py,
# chosen on validation images with another seed; the number of seeds from neu_mt_gpu_pilot.py.
name = 'neu_mt_gpu'
question = (
    'Does what a manifold key gains for Swin-T in classification carry over to finding and '
    'segmenting defects?'
)
# Keys stand on a base chart, as they do behind ImageNet weights, and learn five times as fast as
# the network: at its own rate they do nothing in schedules of this length.
spatial = dict(type='SpatialK', num_charts=8)
mlp = dict(type='MLPK', match=spatial)
arms = dict(
    stock=dict(label='stock key', role='baseline'),
    # As many parameters as SpatialK, without charts: tells charts from size.
    mlp=dict(label='MLPK', role='control', backbone=dict(key_cfg=mlp)),
    # And the same mixing of neighbours: tells charts from the convolution.
    mixing=dict(label='MLPK, 3x3', role='control', backbone=dict(key_cfg=dict(mlp, spatial=True))),
    # Charts without a nonlinearity, which fold into a stock key: tells the manifold from the rate
    # and the number of factors that it is learnt with.
    linear=dict(
        label='SimpleK, linear',
        role='control',
        backbone=dict(key_cfg=dict(type='SimpleK', num_charts=8, act_cfg=None)),
    ),
    spatial=dict(label='SpatialK', backbone=dict(key_cfg=spatial)),
    kua=dict(label='KUA', backbone=dict(key_cfg=dict(type='KUA', num_charts=8))),
    # Pre-trained with the charts and fine-tuned without, and the other way round: tells what
    # carries over in the weights from what the key is worth in the task (docs/statistics.md).
    lost=dict(label='stock key, from SpatialK', role='control', initial_arm='spatial'),
    added=dict(
        label='SpatialK, from stock',
        role='control',
        backbone=dict(key_cfg=spatial),
        initial_arm='stock',
    ),
)
key_rate = {
    'optim_wrapper.constructor': 'mkbackbones.LayerDecayConstructor',
    'optim_wrapper.paramwise_cfg': dict(_delete_=True, decay_rate=1.0, key_lr_mult=5.0),
}
defects = dict(
    # Every image is tested once by six seeds; crops of one strip, exposures of one tile stay
    # together.
    splits=dict(folds=6),
    iters=1000,
    initial_weights=dict(task='classification'),
    options={
        'train_dataloader.batch_size': 8,
        'train_dataloader.num_workers': 1,
        'val_dataloader.num_workers': 1,
        'test_dataloader.num_workers': 1,
        'train_cfg.val_interval': 250,
        'optim_wrapper.optimizer.lr': 1e-4,
        **key_rate,
    },
)
tasks = dict(
    classification=dict(
        kind='classification',
        config='../classification/swin-t-stock_tiny100.py',
        primary='top1',
        iters=20 * 109,  # epochs of 27,900 pictures in batches of 256
        initial_weights='scratch',
        options={
            'train_dataloader.batch_size': 256,
            'val_dataloader.batch_size': 256,
            'test_dataloader.batch_size': 256,
            'train_cfg.val_interval': 5 * 109,
            'optim_wrapper.optimizer.lr': 3e-4,
            **key_rate,
        },
    ),
    detection=dict(
        kind='detection',
        config='../detection/faster-rcnn_swin-t-stock_neu-det.py',
        primary='AP',
        **defects,
    ),
    segmentation=dict(
        kind='segmentation',
        config='../segmentation/upernet_swin-t-stock_neu-seg.py',
        primary='mIoU',
        **defects,
    ),
    tiles=dict(
        kind='segmentation',
        config='../segmentation/upernet_swin-t-stock_magnetic-tile.py',
        primary='mIoU',
        **defects,
    ),
)
seeds = list(range(12))
plan = dict(
    margin=dict(classification=0.5, detection=1.0, segmentation=0.7, tiles=1.0),
    power=0.8,
    looks=[6, 12],
)
del spatial, mlp, key_rate, defects
