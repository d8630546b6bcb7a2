# Your own class maps, as `prepare-dataset` writes them; see ../../own/settings.py.
_base_ = ['../tasks/semantic.py', '../../own/settings.py']
num_classes = {{_base_.num_map_classes}}
train_pipeline = [
    {{_base_.load}},
    {{_base_.annotate}},
    dict(
        type='RandomResize',
        scale={{_base_.image_scale}},
        ratio_range=(0.75, 1.5),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size={{_base_.crop_size}}, cat_max_ratio=0.95),
    {{_base_.flip}},
    {{_base_.pack}},
]
test_pipeline = [{{_base_.load}}, {{_base_.resize}}, {{_base_.annotate}}, {{_base_.pack}}]
dataset = dict(data_root={{_base_.data_root}}, metainfo={{_base_.map_metainfo}})
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
