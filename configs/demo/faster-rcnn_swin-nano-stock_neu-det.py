# Faster R-CNN on a nano Swin with the stock key, NEU-DET at 128x128: for studies on a CPU.
_base_ = './faster-rcnn_swin-nano-stock.py'
model = dict(roi_head=dict(bbox_head=dict(num_classes=6)))
data_root = '{{$MKBACKBONES_DATA:data}}/neu-det/'
dataset = dict(
    type='mkbackbones.NeuDetDataset', data_root=data_root, data_prefix=dict(img='images/')
)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')
