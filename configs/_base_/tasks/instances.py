# What the data sets with instance masks share: boxes, and a mask each.
_base_ = './boxes.py'
annotate = dict(with_mask=True)
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = dict(metric=['bbox', 'segm'])
