# NEU-DET: boxes of six defects on steel strip, 200x200, from `prepare-dataset neu-det`.
_base_ = '../tasks/boxes.py'
data_root = '{{$MKBACKBONES_DATA:data}}/neu-det/'
metainfo = dict(
    classes=('crazing', 'inclusion', 'patches', 'pitted_surface', 'rolled-in_scale', 'scratches'),
    palette=[
        (240, 140, 30),
        (200, 70, 220),
        (50, 120, 230),
        (250, 200, 40),
        (60, 190, 90),
        (230, 60, 50),
    ],
)
num_classes = len(metainfo['classes'])
resize = dict(type='Resize', scale=(448, 448), keep_ratio=True)
train_pipeline = [{{_base_.load}}, {{_base_.annotate}}, resize, {{_base_.flip}}, {{_base_.pack}}]
test_pipeline = [{{_base_.load}}, resize, {{_base_.annotate}}, {{_base_.pack_test}}]
dataset = dict(data_root=data_root, metainfo=metainfo, data_prefix=dict(img='images/'))
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')
