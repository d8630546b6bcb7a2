# GC10-DET: boxes of ten defects on steel sheets, 2048x1000.
_base_ = '../tasks/boxes.py'
data_root = '{{$MKBACKBONES_DATA:data}}/gc10-det/'
num_classes = 10
resize = dict(type='Resize', scale=(1024, 512), keep_ratio=True)
train_pipeline = [{{_base_.load}}, {{_base_.annotate}}, resize, {{_base_.flip}}, {{_base_.pack}}]
test_pipeline = [{{_base_.load}}, resize, {{_base_.annotate}}, {{_base_.pack_test}}]
dataset = dict(type='mkbackbones.Gc10DetDataset', data_root=data_root)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(batch_size=8, dataset=dict(dataset, pipeline=test_pipeline))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')
