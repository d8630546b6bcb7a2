# A study of your own: copy this file, change what it says, and run it.
#     python -m mkbackbones study plan my_study.py     # what it would do, and how long it takes
#     python -m mkbackbones study run my_study.py      # again after a stop: goes on where it was
#     python -m mkbackbones study status work_dirs/studies/my_study
name = 'own_data'
question = 'Does a manifold key help on our parts?'

# One baseline, which all others are compared with; `backbone` replaces entries of model.backbone.
# A control has what a gain might come from instead: here as many parameters, but no charts.
arms = dict(
    stock=dict(label='stock key', role='baseline'),
    mlp=dict(
        label='MLPK',
        role='control',
        backbone=dict(key_cfg=dict(type='MLPK', match=dict(type='SpatialK', num_charts=8))),
    ),
    spatial=dict(label='SpatialK', backbone=dict(key_cfg=dict(type='SpatialK', num_charts=8))),
)

# Each task is a config that `python -m mkbackbones train` takes, with the baseline's backbone.
# kind: classification, detection, instance-segmentation or segmentation; primary: the metric that
# picks weights on the val split and is compared on the test split.
# Boxes in COCO format in data/parts: images/{train,val,test}, annotations/{train,val,test}.json.
# groups.json there (image stem -> name) tells which images resemble each other, e.g. crops of one
# part; put all images of a group into one split.
tasks = dict(
    detection=dict(
        kind='detection',
        config='../detection/faster-rcnn_swin-t-stock_synthetic.py',
        primary='AP',
        data_root='data/parts',
        options={
            # As --cfg-options; lists and dicts replace what the config has.
            'train_dataloader.batch_size': 8,
            'train_dataloader.num_workers': 4,
        },
    ),
)

# One seed is no evidence; five find large effects, ten are better. The report says what this study
# could have found.
seeds = [0, 1, 2, 3, 4]

# 'scratch', dict(checkpoint='FILE or timm://NAME') or dict(task='NAME of a classification task').
initial_weights = dict(checkpoint='timm://swin_tiny_patch4_window7_224.ms_in1k')

# What each run may spend: dict(iters=...), dict(minutes=...), or, left out, what the configs say.
budget = dict(iters=6000)

# Left out: every arm uses the learning rate of the config. Or each arm picks its own on the val
# split, in trials whose seeds are not those above:
# learning_rates = dict(grid=[5e-5, 1e-4, 2e-4], seeds=[100], iters=3000)
