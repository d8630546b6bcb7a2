# NEU-Seg: masks of three defects as instances, from `prepare-dataset neu-seg`.
_base_ = '../tasks/instances.py'
data_root = '{{$MKBACKBONES_DATA:data}}/neu-seg/'
metainfo = dict(
    classes=('inclusion', 'patches', 'scratches'),
    palette=[(200, 70, 220), (50, 120, 230), (230, 60, 50)],
)
num_classes = len(metainfo['classes'])
resize = dict(type='Resize', scale=(448, 448), keep_ratio=True)
train_pipeline = [{{_base_.load}}, {{_base_.annotate}}, resize, {{_base_.flip}}, {{_base_.pack}}]
test_pipeline = [{{_base_.load}}, resize, {{_base_.annotate}}, {{_base_.pack_test}}]
dataset = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')
