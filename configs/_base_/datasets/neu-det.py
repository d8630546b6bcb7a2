# NEU-DET: boxes of six defects on steel strip, 200x200.
_base_ = '../tasks/boxes.py'
data_root = '{{$MKBACKBONES_DATA:data}}/neu-det/'
num_classes = 6
resize = dict(type='Resize', scale=(448, 448), keep_ratio=True)
train_pipeline = [{{_base_.load}}, {{_base_.annotate}}, resize, {{_base_.flip}}, {{_base_.pack}}]
test_pipeline = [{{_base_.load}}, resize, {{_base_.annotate}}, {{_base_.pack_test}}]
dataset = dict(
    type='mkbackbones.NeuDetDataset', data_root=data_root, data_prefix=dict(img='images/')
)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(batch_size=8, dataset=dict(dataset, pipeline=test_pipeline))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')
