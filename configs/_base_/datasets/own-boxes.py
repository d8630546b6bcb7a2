# Your own boxes, as `prepare-dataset` writes them; see ../../own/settings.py.
_base_ = ['../tasks/boxes.py', '../../own/settings.py']
train_pipeline = [
    {{_base_.load}},
    {{_base_.annotate}},
    {{_base_.resize}},
    {{_base_.flip}},
    {{_base_.pack}},
]
test_pipeline = [
    {{_base_.load}},
    {{_base_.resize}},
    {{_base_.annotate}},
    {{_base_.pack_test}},
]
dataset = dict(data_root={{_base_.data_root}}, metainfo={{_base_.metainfo}})
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
val_evaluator = dict(ann_file={{_base_.ann_files.val}})
test_evaluator = dict(ann_file={{_base_.ann_files.test}})
