"""Calls of mmcv's extension that have to return the same from both implementations.

Run as a script by an interpreter whose mmcv is compiled, it writes what the compiled operators
return: ``python compiled_cases.py OUT.pt``. It needs nothing but torch, numpy and mmcv there.
"""

import sys
from itertools import product

import numpy as np
import torch


class Inputs:
    """Random tensors that are the same with every version of torch."""

    def __init__(self, device, dtype):
        self.rng = np.random.default_rng(0)
        self.device, self.dtype = device, dtype

    def uniform(self, *shape, low=-1.0, high=1.0):
        values = self.rng.uniform(low, high, shape)
        return torch.from_numpy(values).to(self.device, self.dtype)

    def integers(self, high, *shape):
        return torch.from_numpy(self.rng.integers(0, high, shape)).to(self.device)

    def boxes(self, n, whole):
        corner, size = self.uniform(n, 2, low=0, high=60), self.uniform(n, 2, low=1, high=40)
        boxes = torch.cat((corner, corner + size), 1)
        return (boxes / 8).round() if whole else boxes

    def scores(self, n, ties):
        scores = self.uniform(n, low=0, high=1)
        return (scores * 8).round() / 8 if ties else scores


def nms(ext, i, offset, whole):
    boxes, scores = i.boxes(300, whole), i.scores(300, ties=False)
    return {'kept': ext.nms(boxes, scores, iou_threshold=0.5, offset=offset)}


def softnms(ext, i, method, offset, whole):
    boxes, scores = i.boxes(120, whole), i.scores(120, ties=whole)
    boxes[:, 2:] += 1  # compiled mmcv scores boxes without an area NaN
    dets = boxes.new_zeros(120, 5)
    kept = ext.softnms(
        boxes, scores, dets, iou_threshold=0.3, sigma=0.5, min_score=0.05, method=method,
        offset=offset,
    )  # fmt: skip
    return {'kept': kept, 'dets': dets[: len(kept)]}


def nms_match(ext, i, whole):
    dets = torch.cat((i.boxes(200, whole), i.scores(200, ties=False)[:, None]), 1)
    groups = ext.nms_match(dets, iou_threshold=0.5)
    return {
        'sizes': torch.tensor([len(g) for g in groups]),
        'members': torch.tensor([m for g in groups for m in g]),
    }


def bbox_overlaps(ext, i, mode, aligned, offset):
    first, second = i.boxes(40, True), i.boxes(40, False)
    ious = first.new_zeros(40) if aligned else first.new_zeros(40, 40)
    ext.bbox_overlaps(first, second, ious, mode=mode, aligned=aligned, offset=offset)
    return {'ious': ious}


def roi_align(ext, i, aligned, ratio):
    maps = i.uniform(2, 8, 20, 30)
    rois = torch.cat((i.integers(2, 25, 1).to(maps), i.boxes(25, False) * 4 - 10), 1)
    grad, grad_input, none = i.uniform(25, 8, 7, 7), torch.zeros_like(maps), maps.new_zeros(0)
    output = maps.new_zeros(25, 8, 7, 7)
    options = dict(
        aligned_height=7, aligned_width=7, spatial_scale=0.125, sampling_ratio=ratio, pool_mode=1,
        aligned=aligned,
    )  # fmt: skip
    ext.roi_align_forward(maps, rois, output, none, none, **options)
    ext.roi_align_backward(grad, rois, none, none, grad_input, **options)
    return {'output': output, 'grad_input': grad_input}


def deform_conv(ext, i, stride, groups, deform_groups, step):
    maps, weight = i.uniform(4, 8, 12, 14), i.uniform(6, 8 // groups, 3, 3)
    size = [(n + 2 - 3) // stride + 1 for n in maps.shape[2:]]
    offset = i.uniform(4, deform_groups * 18, *size, low=-3, high=3)
    grad, output = i.uniform(4, 6, *size), maps.new_zeros(4, 6, *size)
    grad_input, grad_offset = torch.zeros_like(maps), torch.zeros_like(offset)
    grad_weight = torch.zeros_like(weight)
    columns, ones = maps.new_zeros(0), maps.new_zeros(0)
    options = dict(
        kW=3, kH=3, dW=stride, dH=stride, padW=1, padH=1, dilationW=1, dilationH=1, group=groups,
        deformable_group=deform_groups, im2col_step=step,
    )  # fmt: skip
    ext.deform_conv_forward(maps, weight, offset, output, columns, ones, **options)
    # The compiled operators reorder the gradient they are given in place.
    ext.deform_conv_backward_input(
        maps, offset, grad.clone(), grad_input, grad_offset, weight, columns, **options
    )
    ext.deform_conv_backward_parameters(
        maps, offset, grad.clone(), grad_weight, columns, ones, scale=1, **options
    )
    return {
        'output': output,
        'grad_input': grad_input,
        'grad_offset': grad_offset,
        'grad_weight': grad_weight,
    }


def modulated_deform_conv(ext, i, stride, groups, deform_groups, with_bias):
    maps, weight, bias = i.uniform(2, 8, 12, 14), i.uniform(6, 8 // groups, 3, 3), i.uniform(6)
    size = [(n + 2 - 3) // stride + 1 for n in maps.shape[2:]]
    offset = i.uniform(2, deform_groups * 18, *size, low=-3, high=3)
    mask = i.uniform(2, deform_groups * 9, *size, low=0)
    grad, output = i.uniform(2, 6, *size), maps.new_zeros(2, 6, *size)
    tensors = {'input': maps, 'weight': weight, 'bias': bias, 'offset': offset, 'mask': mask}
    grads = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    scratch = maps.new_zeros(0), maps.new_zeros(0)
    options = dict(
        kernel_h=3, kernel_w=3, stride_h=stride, stride_w=stride, pad_h=1, pad_w=1, dilation_h=1,
        dilation_w=1, group=groups, deformable_group=deform_groups, with_bias=with_bias,
    )  # fmt: skip
    ext.modulated_deform_conv_forward(
        maps, weight, bias, scratch[0], offset, mask, output, scratch[1], **options
    )
    ext.modulated_deform_conv_backward(
        maps, weight, bias, scratch[0], offset, mask, scratch[1], *grads.values(), grad, **options
    )
    return {'output': output, **{f'grad_{name}': g for name, g in grads.items()}}


def psamask(ext, i, kind):
    masks, grad = i.uniform(2, 35, 6, 8), i.uniform(2, 48, 6, 8)
    output, grad_input = torch.zeros_like(grad), torch.zeros_like(masks)
    options = dict(
        psa_type=kind, num_=2, h_feature=6, w_feature=8, h_mask=5, w_mask=7, half_h_mask=2,
        half_w_mask=3,
    )  # fmt: skip
    ext.psamask_forward(masks, output, **options)
    ext.psamask_backward(grad, grad_input, **options)
    return {'output': output, 'grad_input': grad_input}


def sigmoid_focal_loss(ext, i, weighted):
    logits, target = i.uniform(60, 9, low=-8, high=8), i.integers(9 if weighted else 10, 60)
    weight = i.uniform(9, low=0.5) if weighted else logits.new_zeros(0)
    output, grad_input = torch.zeros_like(logits), torch.zeros_like(logits)
    ext.sigmoid_focal_loss_forward(logits, target, weight, output, gamma=2.0, alpha=0.25)
    ext.sigmoid_focal_loss_backward(logits, target, weight, grad_input, gamma=2.0, alpha=0.25)
    return {'output': output, 'grad_input': grad_input}


def softmax_focal_loss(ext, i, weighted):
    probs, target = i.uniform(60, 9, low=-8, high=8).softmax(1), i.integers(9, 60)
    weight = i.uniform(9, low=0.5) if weighted else probs.new_zeros(0)
    output, buff, grad_input = probs.new_zeros(60), probs.new_zeros(60), torch.zeros_like(probs)
    ext.softmax_focal_loss_forward(probs, target, weight, output, gamma=2.0, alpha=0.25)
    ext.softmax_focal_loss_backward(probs, target, weight, buff, grad_input, gamma=2.0, alpha=0.25)
    return {'output': output, 'grad_input': grad_input}


def ms_deform_attn(ext, i, dim):
    shapes = torch.tensor([(12, 15), (6, 8), (3, 4)], device=i.device)
    sizes = shapes.prod(1)
    value = i.uniform(2, int(sizes.sum()), 4, dim)
    locations, weights = i.uniform(2, 50, 4, 3, 4, 2, low=-0.2, high=1.2), i.uniform(2, 50, 4, 3, 4)
    tensors = (value, shapes, sizes.cumsum(0) - sizes, locations, weights)
    output = ext.ms_deform_attn_forward(*tensors, im2col_step=64)
    grads = [torch.zeros_like(t) for t in (value, locations, weights)]
    ext.ms_deform_attn_backward(*tensors, i.uniform(*output.shape), *grads, im2col_step=64)
    names = ('grad_value', 'grad_locations', 'grad_weights')
    return {'output': output, **dict(zip(names, grads))}


def carafe(ext, i, groups):
    features, masks = i.uniform(2, 8, 6, 7), i.uniform(2, groups * 25, 12, 14)
    output, grad = features.new_zeros(2, 8, 12, 14), i.uniform(2, 8, 12, 14)
    rfeatures = torch.zeros_like(features)
    options = dict(kernel_size=5, group_size=groups, scale_factor=2)

    def scratch(like):
        return torch.zeros_like(like)

    ext.carafe_forward(
        features, masks, rfeatures, scratch(output), scratch(masks), output, **options
    )
    grads = {'grad_input': scratch(features), 'grad_masks': scratch(masks)}
    ext.carafe_backward(
        grad, rfeatures, masks, scratch(grad), scratch(grad), scratch(features), scratch(masks),
        *grads.values(), **options,
    )  # fmt: skip
    return {'output': output, **grads}


def masked_conv(ext, i):
    features = i.uniform(1, 4, 9, 11)
    rows, columns = torch.nonzero(i.uniform(9, 11) > 0.3).T.contiguous()
    col, image = features.new_zeros(4 * 15, len(rows)), features.new_zeros(1, 6, 9, 11)
    ext.masked_im2col_forward(
        features, rows, columns, col, kernel_h=3, kernel_w=5, pad_h=1, pad_w=2
    )
    values = i.uniform(6, len(rows))
    ext.masked_col2im_forward(values, rows, columns, image, height=9, width=11, channels=6)
    return {'columns': col, 'image': image}


SINGLE, DOUBLE = torch.float32, torch.float64
# Operator, its cases, the types to compare in: mmcv has NMS and its kin in float32 only.
TABLE = [
    (nms, [dict(offset=o, whole=w) for o, w in product((0, 1), (False, True))], [SINGLE]),
    (
        softnms,
        [
            dict(method=m, offset=o, whole=w)
            for m, (o, w) in product((0, 1, 2), [(0, False), (1, False), (0, True)])
        ],
        [SINGLE],
    ),
    (nms_match, [dict(whole=False), dict(whole=True)], [SINGLE]),
    (
        bbox_overlaps,
        [dict(mode=m, aligned=a, offset=o) for m, a, o in product((0, 1), (False, True), (0, 1))],
        [SINGLE],
    ),
    (
        roi_align,
        [dict(aligned=a, ratio=r) for a, r in product((True, False), (0, 2))],
        [SINGLE, DOUBLE],
    ),
    (
        deform_conv,
        [
            dict(stride=1, groups=1, deform_groups=1, step=4),
            dict(stride=2, groups=2, deform_groups=4, step=2),
        ],
        [SINGLE, DOUBLE],
    ),
    (
        modulated_deform_conv,
        [
            dict(stride=1, groups=1, deform_groups=1, with_bias=True),
            dict(stride=2, groups=2, deform_groups=4, with_bias=False),
        ],
        [SINGLE, DOUBLE],
    ),
    (psamask, [dict(kind=0), dict(kind=1)], [SINGLE]),
    (sigmoid_focal_loss, [dict(weighted=False), dict(weighted=True)], [SINGLE, DOUBLE]),
    (softmax_focal_loss, [dict(weighted=False), dict(weighted=True)], [SINGLE, DOUBLE]),
    (ms_deform_attn, [dict(dim=8), dict(dim=6)], [SINGLE, DOUBLE]),
    (carafe, [dict(groups=1), dict(groups=2)], [SINGLE]),
    (masked_conv, [{}], [SINGLE]),
]
CASES = {
    (operator.__name__, ' '.join(f'{k}={v}' for k, v in case.items()), str(dtype)[6:]): (
        operator,
        case,
        dtype,
    )
    for operator, cases, dtypes in TABLE
    for case in cases
    for dtype in dtypes
}


def run(ext, key, device):
    """Outputs of one case, or the message where the operator does not exist on the device."""
    operator, case, dtype = CASES[key]
    try:
        outputs = operator(ext, Inputs(device, dtype), **case)
    except RuntimeError as error:
        if 'not found' in str(error) or 'is not compiled with' in str(error):
            return str(error).splitlines()[0]
        raise
    return {name: tensor.cpu() for name, tensor in outputs.items()}


def run_all(ext):
    """Results of every case, on the GPU if mmcv was compiled for it and there is one."""
    with_cuda = ext.get_compiling_cuda_version() != 'not available'
    device = 'cuda' if with_cuda and torch.cuda.is_available() else 'cpu'
    return {'device': device, 'results': {key: run(ext, key, device) for key in CASES}}


if __name__ == '__main__':
    import mmcv._ext

    torch.save(run_all(mmcv._ext), sys.argv[1])
