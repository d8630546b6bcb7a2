# Beside neu_mt_gpu_settings.py: do keys get into use at a higher learning rate of their own? With
# and without a base chart, at 5 and 20 times the rate of the network; chosen on validation images.
#     python -m mkbackbones study run configs/studies/neu_mt_gpu_key_rates.py --slots 2
name = 'neu_mt_gpu_key_rates'
question = 'Which learning rate of their own brings the keys of a Swin-T into use?'
spatial = dict(type='SpatialK', num_charts=8)
arms = dict(
    based=dict(label='SpatialK, base', role='baseline', backbone=dict(key_cfg=spatial)),
    spatial=dict(label='SpatialK, no base', backbone=dict(key_cfg=dict(spatial, base=False))),
)
epoch = 109  # iterations: 27,900 pictures in batches of 256
tasks = {
    f'key_lr_x{rate}': dict(
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
            'optim_wrapper.constructor': 'mkbackbones.LayerDecayConstructor',
            'optim_wrapper.paramwise_cfg': dict(
                _delete_=True, decay_rate=1.0, key_lr_mult=float(rate)
            ),
        },
    )
    for rate in (5, 20)
}
seeds = [90]
initial_weights = 'scratch'
del spatial, epoch
