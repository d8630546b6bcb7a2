"""Every shipped config trains a step and predicts, with its own model, optimiser and pipelines."""

import zlib

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from ..memory import release
from .zoo import (
    CONFIGS,
    libraries,
    load,
    make_backbone_small,
    make_heads_small,
    make_small,
    make_transformers_shallow,
    read,
    without_download,
    write_data,
)

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
#: One config of each head, with the key that the paper prefers, among them each family of backbones
#: and ViTs with a pyramid; the rest runs with `make test-all`.
FAST = {
    'detection/faster-rcnn_swinv2-t-spatial_neu-det',
    'detection/faster-rcnn_dinov3-s-vanilla_neu-det',
    'detection/mask-rcnn_swin-t-spatial_coco-3x',
    'detection/cascade-mask-rcnn_swin-t-spatial_neu-seg',
    'detection/retinanet_vit-s-vanilla_coco',
    'detection/fcos_swin-t-spatial_neu-det',
    'detection/atss_swin-t-spatial_coco',
    'detection/rtmdet_swin-t-spatial_coco',
    'detection/dino_swin-t-spatial_coco',
    'detection/vitdet_vit-s-vanilla_coco',
    'segmentation/upernet_swin-t-spatial_ade20k',
    'segmentation/segformer_swin-t-spatial_neu-seg',
    'segmentation/sem-fpn_vit-s-vanilla_ade20k',
    'segmentation/deeplabv3plus_swin-t-spatial_neu-seg',
    'segmentation/mask2former_swin-t-spatial_ade20k',
}


@pytest.fixture(autouse=True)
def one_model_at_a_time():
    """Models and runners are circles: without this, two of them share the memory."""
    yield
    release()


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_fast_configs_exist():
    assert set(CONFIGS) >= FAST


@pytest.mark.parametrize(
    'name',
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS],
)
def test_trains_a_step_and_predicts(name, tmp_path, monkeypatch):
    monkeypatch.setenv('MKBACKBONES_DATA', str(tmp_path))
    libraries()
    cfg = without_download(read(name))
    # Smaller, P6 has one place, where the CPU's bfloat16 convolution yields NaN as the gradient of
    # a 3x3 kernel.
    make_small(cfg, side=128)
    if 'num_queries' in cfg.model:  # DINO and Mask2Former pick them among the places of their maps
        cfg.model.num_queries = 100
    make_heads_small(cfg)
    if name in FAST:
        make_backbone_small(cfg)
        make_transformers_shallow(cfg.model)
    write_data(cfg)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
        check_a_step(model, build_optim_wrapper(model, cfg.optim_wrapper), cfg)
        model.eval()
        with torch.no_grad():
            predicted = model.test_step(first_batch(cfg.test_dataloader))
    assert 'pred_instances' in predicted[0] or 'pred_sem_seg' in predicted[0]


def check_a_step(model, optim_wrapper, cfg):
    """Losses are finite, every weight gets a gradient (DDP asks for it), and weights move."""
    reached = set()
    before = {}
    for name, parameter in model.named_parameters():
        before[name] = digest(parameter)
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: reached.add(name))
    model.train()
    losses = model.train_step(first_batch(cfg.train_dataloader), optim_wrapper)
    for name, value in losses.items():
        assert value.isfinite().all(), name
    without = [n for n, p in model.named_parameters() if p.requires_grad and n not in reached]
    assert not without, f'no gradient: {without}'
    moved = [n for n, p in model.named_parameters() if digest(p) != before[n]]
    assert any('backbone' in n for n in moved) and any('head' in n for n in moved)
    broken = [n for n, p in model.named_parameters() if not p.isfinite().all()]
    assert not broken, f'not finite: {broken}'


def digest(parameter):
    """Tells values apart without a copy of all of them, a quarter of a model's training."""
    return zlib.crc32(parameter.detach().contiguous().numpy())


def first_batch(loader):
    return next(iter(Runner.build_dataloader(loader)))


def test_mask2former_trains_the_backbone_at_a_tenth_and_spares_norms_the_decay():
    libraries()
    cfg = load('segmentation/mask2former_swin-t-spatial_ade20k')
    with DefaultScope.overwrite_default_scope('mmseg'), torch.device('meta'):
        model = MODELS.build(cfg.model)
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    rates = {
        id(p): (group['lr'], group['weight_decay']) for group in groups for p in group['params']
    }
    for name, parameter in model.named_parameters():
        lr, decay = rates[id(parameter)]
        if name.startswith('backbone'):
            assert lr == pytest.approx(1e-5), name
            spared = ('norm', 'relative_position_bias_table', 'key.gamma', 'key.out_scale')
            assert (decay == 0) == any(part in name for part in spared), name
        else:
            assert lr == pytest.approx(1e-4), name
