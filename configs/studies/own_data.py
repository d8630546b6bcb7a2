# A study of your own set. Its data, classes, scale, size of the backbone, weights and length are in
# ../own/settings.py; here is what is compared. docs/own-data.md is the walk through all of it.
#     python -m mkbackbones study plan own_data.py     # what it would do, and how long it takes
#     python -m mkbackbones study run own_data.py      # again after a stop: goes on where it was
#     python -m mkbackbones study status work_dirs/studies/own_data
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
# ../own/faster-rcnn.py is for boxes. For masks of instances take kind='instance-segmentation' and
# ../own/mask-rcnn.py, for class maps kind='segmentation', primary='mIoU' and ../own/upernet.py.
# groups.json in the set's folder (image stem -> name) tells which images resemble each other, e.g.
# crops of one part; `prepare-dataset --split group` puts all images of a group into one split.
# splits=dict(folds=5) in a task: seed s tests on fold s of 5, so that over the seeds every image is
# tested once, and the chance that the test images are falls (docs/statistics.md, Folds).
# tile=dict(size=1024, overlap=128) in a task: larger test pictures are cut, and measured whole.
tasks = dict(
    detection=dict(
        kind='detection',
        config='../own/faster-rcnn.py',
        primary='AP',
        options={
            # As --cfg-options; lists and dicts replace what the config has. What is set here is
            # kept; what the config says (val_interval, schedule) is stretched to the budget.
            'train_dataloader.batch_size': 8,
            'train_dataloader.num_workers': 4,
        },
    ),
)

# One seed is no evidence; five find large effects, ten are better. The report says what this study
# could have found; `study power` says it beforehand, from the first two or three of them.
seeds = [0, 1, 2, 3, 4]

# What is decided before the first run: below how many points of the primary metric arms are taken
# as equivalent, and after how many seeds results are looked at (`study run --until decided`).
# plan = dict(margin=0.5, looks=[3, 5])

# 'config' (what the task's config says, here the weights in settings.py), 'scratch',
# dict(checkpoint='FILE or timm://NAME') or dict(task='NAME of a classification task').
initial_weights = 'config'

# What each run may spend: dict(iters=...), dict(minutes=...), or, left out, what the configs say.
# budget = dict(minutes=60)

# Left out: every arm uses the learning rate of the config. Or each arm picks its own on the val
# split, in trials whose seeds are not those above:
# learning_rates = dict(grid=[5e-5, 1e-4, 2e-4], seeds=[100], iters=3000)
