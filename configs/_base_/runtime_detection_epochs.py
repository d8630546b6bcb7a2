# What detection configs share that count in epochs, as COCO's schedules do.
_base_ = './runtime_detection.py'
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1))
log_processor = dict(by_epoch=True)
