# The pilot of a study at full size: Swin-T learns 100 classes at 112 pixels, to tell how many seeds
# such a study takes. Charts behind a zero output scale hardly move in short schedules, so keys have
# no base chart here (base=False). The main study takes other seeds.
#     python -m mkbackbones study run configs/studies/neu_mt_gpu_pilot.py --slots 6
#     python -m mkbackbones study power configs/studies/neu_mt_gpu_pilot.py --effect top1=0.5
name = 'neu_mt_gpu_pilot'
question = 'How much do classification runs of Swin-T vary, and do keys without a base act?'
spatial = dict(type='SpatialK', num_charts=8, base=False)
mlp = dict(type='MLPK', match=spatial)
arms = dict(
    stock=dict(label='stock key', role='baseline'),
    mlp=dict(label='MLPK', role='control', backbone=dict(key_cfg=mlp)),
    mixing=dict(label='MLPK, 3x3', role='control', backbone=dict(key_cfg=dict(mlp, spatial=True))),
    spatial=dict(label='SpatialK', backbone=dict(key_cfg=spatial)),
)
epoch = 109  # iterations: 27,900 pictures in batches of 256
tasks = dict(
    classification=dict(
        kind='classification',
        config='../classification/swin-t-stock_tiny100.py',
        primary='top1',
        iters=20 * epoch,
        options={
            'train_dataloader.batch_size': 256,
            'val_dataloader.batch_size': 256,
            'test_dataloader.batch_size': 256,
            'train_cfg.val_interval': 5 * epoch,
            'optim_wrapper.optimizer.lr': 3e-4,
        },
    ),
)
seeds = [100, 101, 102]
initial_weights = 'scratch'
del spatial, mlp, epoch
