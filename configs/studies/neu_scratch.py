# NEU-DET and NEU-Seg on Swin-T and ViT-S, every network from random weights: six arms, five seeds,
# 120 runs. Both data sets are split by strip, alike.
#     python -m mkbackbones study plan configs/studies/neu_scratch.py
name = 'neu_scratch'
question = 'Does a manifold key help to find steel defects, without any pre-training?'
spatial = dict(type='SpatialK', num_charts=8)
mixing = dict(type='MLPK', match=spatial, spatial=True)
temperature = dict(type='LinearK', temperature=True)
arms = dict(
    stock=dict(label='stock key', role='baseline'),
    # As many parameters as SpatialK, without charts: tells charts from size.
    mlp=dict(label='MLPK', role='control', backbone=dict(key_cfg=dict(type='MLPK', match=spatial))),
    # And the same mixing of neighbours: tells charts from the convolution.
    mixing=dict(label='MLPK, 3x3', role='control', backbone=dict(key_cfg=mixing)),
    # And a trained scale of the logits, which charts change, too.
    temperature=dict(label='temperature', role='control', backbone=dict(key_cfg=temperature)),
    spatial=dict(label='SpatialK', backbone=dict(key_cfg=spatial)),
    vanilla=dict(label='VanillaK', backbone=dict(key_cfg=dict(type='VanillaK', num_charts=8))),
)
tasks = {
    'detection-swin': dict(
        kind='detection', config='../detection/faster-rcnn_swin-t-stock_neu-det.py', primary='AP'
    ),
    'segmentation-swin': dict(
        kind='segmentation',
        config='../segmentation/upernet_swin-t-stock_neu-seg.py',
        primary='mIoU',
    ),
    'detection-vit': dict(
        kind='detection', config='../detection/faster-rcnn_vit-s-stock_neu-det.py', primary='AP'
    ),
    'segmentation-vit': dict(
        kind='segmentation', config='../segmentation/upernet_vit-s-stock_neu-seg.py', primary='mIoU'
    ),
}
seeds = [0, 1, 2, 3, 4]
initial_weights = 'scratch'
del spatial, mixing, temperature
