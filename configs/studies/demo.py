# The demo: a tiny detector and a tiny segmentor, with the stock key and with a manifold key, on
# synthetic defects. Minutes on two CPU cores. One seed shows that all works here, not which key is
# better.
name = 'demo'
question = 'Do installation, training, evaluation and comparison work here?'
arms = dict(
    stock=dict(label='stock key', role='baseline'),
    spatial=dict(label='SpatialK', backbone=dict(key_cfg=dict(type='SpatialK', num_charts=8))),
)
tasks = dict(
    detection=dict(kind='detection', config='../demo/faster-rcnn_swin-nano-stock.py', primary='AP'),
    segmentation=dict(
        kind='segmentation', config='../demo/upernet_swin-nano-stock.py', primary='mIoU'
    ),
)
seeds = [0]
initial_weights = 'scratch'
