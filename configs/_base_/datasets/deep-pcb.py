# DeepPCB: boxes of six defects on binarised circuit boards, 640x640.
_base_ = '../tasks/boxes.py'
data_root = '{{$MKBACKBONES_DATA:data}}/deep-pcb/'
num_classes = 6
resize = dict(type='Resize', scale=(640, 640), keep_ratio=True)
train_pipeline = [{{_base_.load}}, {{_base_.annotate}}, resize, {{_base_.flip}}, {{_base_.pack}}]
test_pipeline = [{{_base_.load}}, resize, {{_base_.annotate}}, {{_base_.pack_test}}]
dataset = dict(type='mkbackbones.DeepPcbDetDataset', data_root=data_root)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(batch_size=8, dataset=dict(dataset, pipeline=test_pipeline))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')
