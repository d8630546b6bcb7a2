# From ImageNet weights to steel and tiles: every arm starts from the same public checkpoint, so
# a key learns here what it would have learnt there. Put swin_tiny_patch4_window7_224.pth (of the
# authors of Swin, or of mmpretrain or timm) into checkpoints/, or name another place in
# MKBACKBONES_WEIGHTS. Data sets: `prepare-dataset` for neu-det, neu-seg and
# `magnetic-tile --split group`.
#     python -m mkbackbones study run configs/studies/from_imagenet.py --slots 8 --until decided
name = 'from_imagenet'
question = 'Does a manifold key on top of ImageNet weights help to find defects?'
# A base chart behind every key: all arms begin as the network of the checkpoint.
spatial = dict(type='SpatialK', num_charts=8)
mlp = dict(type='MLPK', match=spatial)
arms = dict(
    stock=dict(label='stock key', role='baseline'),
    mlp=dict(label='MLPK', role='control', backbone=dict(key_cfg=mlp)),
    mixing=dict(label='MLPK, 3x3', role='control', backbone=dict(key_cfg=dict(mlp, spatial=True))),
    spatial=dict(label='SpatialK', backbone=dict(key_cfg=spatial)),
    kua=dict(label='KUA', backbone=dict(key_cfg=dict(type='KUA', num_charts=8))),
)
folds = dict(folds=5)
tasks = dict(
    detection=dict(
        kind='detection',
        config='../detection/faster-rcnn_swin-t-stock_neu-det.py',
        primary='AP',
        splits=folds,
    ),
    segmentation=dict(
        kind='segmentation',
        config='../segmentation/upernet_swin-t-stock_neu-seg.py',
        primary='mIoU',
        splits=folds,
    ),
    tiles=dict(
        kind='segmentation',
        config='../segmentation/upernet_swin-t-stock_magnetic-tile.py',
        primary='mIoU',
        splits=folds,
    ),
)
seeds = list(range(20))
plan = dict(margin=dict(detection=0.5, segmentation=0.35, tiles=0.5), power=0.8, looks=[10, 15, 20])
weights = '{{$MKBACKBONES_WEIGHTS:checkpoints}}/swin_tiny_patch4_window7_224.pth'
initial_weights = dict(checkpoint=weights)
del spatial, mlp, folds, weights
