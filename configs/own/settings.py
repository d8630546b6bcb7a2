# Everything about your own set, in one place: the configs beside this file and the study
# ../studies/own_data.py read it. docs/own-data.md is the walk through all of it.
# 1. The folder that `prepare-dataset ... --out` wrote.
data_root = '{{$MKBACKBONES_DATA:data}}/parts/'
# 2. The classes, in the order of `classes` in its dataset.json; a comma after a single one.
classes = ('scratch', 'dent')
# 3. Images are scaled to fit, whichever way they lie; the smallest defect should keep 8 pixels.
image_scale = (1024, 1024)
crop_size = (512, 512)  # segmentation crops for training: height, width
# 4. The size of the backbone, the channels of its outputs, and ImageNet weights of that size.
#    tiny, small: [96, 192, 384, 768]; base: [128, 256, 512, 1024]; large: [192, 384, 768, 1536];
#    or a dict(embed_dims=..., depths=..., num_heads=...). checkpoint = None: random weights.
arch = 'tiny'
channels = [96, 192, 384, 768]
checkpoint = 'timm://swin_tiny_patch4_window7_224.ms_in1k'
# 5. How long a training takes, in iterations.
max_iters = 6000

# What follows from these; nothing below has to be changed.
palette = [
    ((37 * i + 200) % 256, (91 * i + 60) % 256, (53 * i + 40) % 256) for i in range(len(classes))
]
num_classes = len(classes)
auxiliary_channels = channels[2]
metainfo = dict(classes=classes, palette=palette)
map_metainfo = dict(classes=('background', *classes), palette=[(0, 0, 0), *palette])
num_map_classes = num_classes + 1
query_weights = [1.0] * num_map_classes + [0.1]  # of Mask2Former: the classes, then 'no object'
resize = dict(type='Resize', scale=image_scale, keep_ratio=True)
ann_files = {split: f'{data_root}annotations/{split}.json' for split in ('val', 'test')}
backbone = dict(
    _delete_=True,
    type='mkbackbones.ManifoldSwin',
    arch=arch,
    out_indices=(0, 1, 2, 3),
    drop_path_rate=0.2,
    init_cfg=dict(type='Pretrained', checkpoint=checkpoint) if checkpoint else None,
)
warm_up = max(min(500, max_iters // 10), 1)
loop = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max(max_iters // 12, 1))
schedule = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warm_up),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=warm_up, end=max_iters),
]
