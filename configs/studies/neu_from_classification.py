# Carry-over: every arm first learns to classify, then goes on, with that very network, to find and
# to segment steel defects. So the gain in classification and the gain downstream come from the same
# weights. Needs tiny100, NEU-DET and NEU-Seg.
name = 'neu_from_classification'
question = 'Does what a manifold key gains in classification carry over to steel defects?'
spatial = dict(type='SpatialK', num_charts=8)
mixing = dict(type='MLPK', match=spatial, spatial=True)
temperature = dict(type='LinearK', temperature=True)
deeper = dict(embed_dims=96, depths=(2, 2, 12, 2), num_heads=(3, 6, 12, 24))
arms = dict(
    stock=dict(label='stock key', role='baseline'),
    # As many parameters as SpatialK, without charts: tells charts from size.
    mlp=dict(label='MLPK', role='control', backbone=dict(key_cfg=dict(type='MLPK', match=spatial))),
    # And the same mixing of neighbours: tells charts from the convolution.
    mixing=dict(label='MLPK, 3x3', role='control', backbone=dict(key_cfg=mixing)),
    # And a trained scale of the logits, which charts change, too.
    temperature=dict(label='temperature', role='control', backbone=dict(key_cfg=temperature)),
    # A stock network that costs as much as SpatialK: what one would take instead of a key. On an
    # H200, steps of 256 pictures of 112 pixels take 60 ms (stock), 78 (SpatialK) and 80 (this).
    deeper=dict(label='stock key, deeper', role='control', backbone=dict(arch=deeper)),
    spatial=dict(label='SpatialK', backbone=dict(key_cfg=spatial)),
    vanilla=dict(label='VanillaK', backbone=dict(key_cfg=dict(type='VanillaK', num_charts=8))),
)
tasks = dict(
    classification=dict(
        kind='classification', config='../classification/swin-t-stock_tiny100.py', primary='top1'
    ),
    detection=dict(
        kind='detection', config='../detection/faster-rcnn_swin-t-stock_neu-det.py', primary='AP'
    ),
    segmentation=dict(
        kind='segmentation',
        config='../segmentation/upernet_swin-t-stock_neu-seg.py',
        primary='mIoU',
    ),
)
seeds = [0, 1, 2, 3, 4]
# The task named here starts from scratch, the others from what it has trained.
initial_weights = dict(task='classification')
del spatial, mixing, temperature, deeper
