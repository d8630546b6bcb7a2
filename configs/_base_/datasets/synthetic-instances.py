# Synthetic defects: boxes and masks of five classes, from `prepare-dataset synthetic`.
_base_ = '../tasks/instances.py'
data_root = '{{$MKBACKBONES_DATA:data}}/synthetic/'
metainfo = dict(
    classes=('scratch', 'pit', 'inclusion', 'stain', 'patch'),
    palette=[(230, 60, 50), (250, 200, 40), (200, 70, 220), (60, 190, 90), (50, 120, 230)],
)
num_classes = len(metainfo['classes'])
resize = dict(type='Resize', scale=(256, 256), keep_ratio=True)
train_pipeline = [{{_base_.load}}, {{_base_.annotate}}, resize, {{_base_.flip}}, {{_base_.pack}}]
test_pipeline = [{{_base_.load}}, resize, {{_base_.annotate}}, {{_base_.pack_test}}]
dataset = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')
