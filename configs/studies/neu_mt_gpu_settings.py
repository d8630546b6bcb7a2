# Before the main study of full-size networks: which learning rates do stock and keys need, and with
# which of them are the keys in use? Everything is chosen on validation images, with one seed that
# the main study does not have.
#     python -m mkbackbones study run configs/studies/neu_mt_gpu_settings.py --slots 8
name = 'neu_mt_gpu_settings'
question = 'Which learning rates suit stock and keys, and are the keys in use then?'
spatial = dict(type='SpatialK', num_charts=8)
arms = dict(
    stock=dict(label='stock key', role='baseline'),
    spatial=dict(label='SpatialK, no base', backbone=dict(key_cfg=dict(spatial, base=False))),
    based=dict(label='SpatialK, base', backbone=dict(key_cfg=spatial)),
)
epoch = 109  # iterations: 27,900 pictures in batches of 256
tasks = {
    f'top1_{lr}': dict(
        kind='classification',
        config='../classification/swin-t-stock_tiny100.py',
        primary='top1',
        iters=20 * epoch,
        options={
            'train_dataloader.batch_size': 256,
            'val_dataloader.batch_size': 256,
            'test_dataloader.batch_size': 256,
            'train_cfg.val_interval': 5 * epoch,
            'optim_wrapper.optimizer.lr': float(lr),
        },
        initial_weights='scratch',
    )
    for lr in ('3e-4', '15e-5', '6e-4')
}
for lr in ('1e-4', '3e-4'):
    options = {
        'train_dataloader.batch_size': 8,
        'train_dataloader.num_workers': 1,
        'val_dataloader.num_workers': 1,
        'test_dataloader.num_workers': 1,
        'train_cfg.val_interval': 250,
        'optim_wrapper.optimizer.lr': float(lr),
    }
    common = dict(iters=1000, options=options, initial_weights=dict(task='top1_3e-4'))
    tasks[f'AP_{lr}'] = dict(
        kind='detection',
        config='../detection/faster-rcnn_swin-t-stock_neu-det.py',
        primary='AP',
        **common,
    )
    tasks[f'mIoU_{lr}'] = dict(
        kind='segmentation',
        config='../segmentation/upernet_swin-t-stock_neu-seg.py',
        primary='mIoU',
        **common,
    )
seeds = [90]
del spatial, epoch, lr, options, common
