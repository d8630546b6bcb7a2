# Synthetic defects: instances of five classes.
_base_ = '../tasks/instances.py'
data_root = '{{$MKBACKBONES_DATA:data}}/synthetic/'
num_classes = 5
resize = dict(type='Resize', scale=(256, 256), keep_ratio=True)
train_pipeline = [{{_base_.load}}, {{_base_.annotate}}, resize, {{_base_.flip}}, {{_base_.pack}}]
test_pipeline = [{{_base_.load}}, resize, {{_base_.annotate}}, {{_base_.pack_test}}]
dataset = dict(type='mkbackbones.SyntheticDetDataset', data_root=data_root)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(batch_size=8, dataset=dict(dataset, pipeline=test_pipeline))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')
