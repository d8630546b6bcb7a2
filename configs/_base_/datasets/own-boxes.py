# Your own boxes, in the layout that `prepare-dataset` writes:
#
#   own/annotations/{train,val,test}.json   COCO files
#   own/images/{train,val,test}/            the images
#
# Copy this file and change the four marked places; the heads follow the number of classes.
_base_ = '../tasks/boxes.py'
data_root = '{{$MKBACKBONES_DATA:data}}/own/'  # 1. the folder
classes = ('scratch', 'dent')  # 2. the names in the COCO files; a comma after a single one
palette = [(230, 60, 50), (50, 120, 230)]  # 3. a colour each, for pictures
num_classes = len(classes)
# 4. Images are scaled to fit; the smallest defect should keep some 8 pixels.
resize = dict(type='Resize', scale=(1024, 1024), keep_ratio=True)
train_pipeline = [{{_base_.load}}, {{_base_.annotate}}, resize, {{_base_.flip}}, {{_base_.pack}}]
test_pipeline = [{{_base_.load}}, resize, {{_base_.annotate}}, {{_base_.pack_test}}]
dataset = dict(data_root=data_root, metainfo=dict(classes=classes, palette=palette))
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')
