"""Names of backbones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.profiling.build import backbone_cfg, build_backbone, key_cfg
from mkbackbones.profiling.goals import GOALS
from mkbackbones.profiling.presets import PRESETS
from mkbackbones.profiling.sizes import SIZES, parse_size
from mkbackbones.profiling.spec import SpecError, archs, expand, parse_spec

KEYS = st.sampled_from(['VanillaK', 'SimpleK', 'KUA', 'SpatialK'])


@given(
    st.sampled_from(sorted(archs())),
    KEYS,
    st.integers(1, 32),
    st.sampled_from(['gelu', 'none']),
    st.sampled_from(['yes', 'no']),
)
def test_a_name_survives_reading_and_writing(arch, key, charts, act, cp):
    spec = parse_spec(f'{arch}/{key}:cp={cp}:charts={charts}:act={act}')
    assert parse_spec(str(spec)) == spec
    assert (spec.arch, spec.key, spec.get('charts')) == (arch, key, str(charts))


@pytest.mark.parametrize(
    'name, message',
    [
        ('swin-q', "did you mean 'swin-t'"),
        ('mmdett:swin-t', "did you mean 'mmdet'"),
        ('mmdet:vit-b', 'mmdet has no vit-b; mmseg and mmpretrain and timm have one'),
        ('mmseg:swinv2-t', 'mmseg has no swinv2-t; mmpretrain and timm have one'),
        ('mmseg:dinov3-s', 'mmseg has no dinov3-s; timm have one'),
        ('mmdet:swin-t/KUA', 'no manifold keys'),
        ('swin-t/SpacialK', "did you mean 'SpatialK'"),
        ('swin-t/KUA:chart=3', "did you mean 'charts'"),
        ('swin-t/KUA:charts=0', 'charts=0 is not a number of at least 1'),
        ('swin-t/KUA:width=half', 'takes no chart width'),
        ('swin-t/VanillaK:width=haf', "did you mean 'half'"),
        ('swin-t:charts=2', 'option charts is of a key'),
        ('swin-t/LinearK:charts=2', 'LinearK has no charts'),
        ('swin-t:fused=yes', 'timm:swin-t:fused=yes'),
        ('timm:swin-t:cp=yes', 'alone'),
    ],
)
def test_what_is_wrong_with_a_name_is_told(name, message):
    with pytest.raises(SpecError, match=message):
        parse_spec(name)


@pytest.mark.parametrize('text', ['3x4', '0x32x32', '1x32xx', '', 'detektion'])
def test_bad_sizes_are_refused(text):
    with pytest.raises(SpecError, match='size'):
        parse_size(text)


def test_sizes_have_names():
    assert parse_size('detection') == (4, 800, 1344)
    assert [parse_size(name) for name in SIZES] == [parse_size(size) for size in SIZES.values()]


def test_expansion_crosses_only_what_a_key_takes():
    specs = [parse_spec(n) for n in ('swin-t', 'swin-t/VanillaK', 'swin-t/KUA', 'swin-t/LinearK')]
    names = [str(spec) for spec in expand(specs, (1, 4), ('full', '1/H'), False)]
    assert names == [
        'swin-t',
        'swin-t/VanillaK:charts=1:width=full',
        'swin-t/VanillaK:charts=1:width=1/H',
        'swin-t/VanillaK:charts=4:width=full',
        'swin-t/VanillaK:charts=4:width=1/H',
        'swin-t/KUA:charts=1',
        'swin-t/KUA:charts=4',
        'swin-t/LinearK',
    ]


def test_a_compiled_twin_follows():
    spec = parse_spec('mmdet:swin-t')
    assert [str(s) for s in expand([spec], (), (), True)] == [str(spec), f'{spec}:compile=yes']


def test_narrow_charts_are_narrow_in_every_stage():
    spec = parse_spec('swin-t/VanillaK:charts=4:width=1/H')
    assert [cfg['chart_channels'] for cfg in key_cfg(spec)] == [24, 48, 96, 192]
    assert key_cfg(parse_spec('vit-t/VanillaK:width=half'))['chart_channels'] == 96


def test_options_reach_the_backbone():
    cfg = backbone_cfg(parse_spec('vit-t/SimpleK:charts=3:act=none:base=no:cp=yes'))
    assert cfg['with_cp']
    assert cfg['key_cfg'] == dict(type='SimpleK', num_charts=3, act_cfg=None, base=False)


def test_folding_needs_linear_charts():
    with pytest.raises(ValueError, match='not linear'):
        build_backbone(parse_spec('vit-t/VanillaK:charts=1:fold=yes'), (32, 32))


@pytest.mark.parametrize('fused', ['yes', 'no'])
def test_timms_attention_is_set_layer_by_layer(fused):
    model = build_backbone(parse_spec(f'timm:swin-t:fused={fused}'), (32, 32))
    found = {module.fused_attn for module in model.modules() if hasattr(module, 'fused_attn')}
    assert found == {fused == 'yes'}


def test_swin_v2_and_its_peers():
    ours = build_backbone(parse_spec('swinv2-t/SpatialK:charts=2'), (32, 32))
    assert type(ours).__name__ == 'ManifoldSwinV2' and ours.window_size == 8
    peer = build_backbone(parse_spec('timm:swinv2-t'), (40, 64))
    shapes = [tuple(out.shape[1:]) for out in peer.eval()(torch.zeros(1, 3, 40, 64))]
    assert shapes == [(96, 10, 16), (192, 5, 8), (384, 3, 4), (768, 2, 2)]
    cfg = backbone_cfg(parse_spec('mmpretrain:swinv2-b'))
    assert cfg['type'] == 'mmpretrain.SwinTransformerV2' and cfg['arch'] == 'base'


def test_dinov3_and_its_peer():
    ours = build_backbone(parse_spec('dinov3-sp/VanillaK:charts=2'), (32, 32))
    assert type(ours).__name__ == 'ManifoldDINOv3'
    assert type(ours.blocks[0].mlp).__name__ == 'SwiGLU'
    peer = build_backbone(parse_spec('timm:dinov3-sp'), (32, 48))
    (out,) = peer.eval()(torch.zeros(1, 3, 32, 48))
    assert out.shape == (1, 384, 2, 3)


def test_the_goals_preset_runs_what_the_goals_compare():
    run = {(str(spec), job.size) for job in PRESETS['goals']() for spec in job.specs}
    for goal in GOALS:
        assert all((name, goal.size) in run for name in (goal.numerator, *goal.denominators))


@pytest.mark.parametrize('name', PRESETS)
def test_presets_are_jobs_without_duplicates(name):
    jobs = PRESETS[name]()
    assert len({(job.size, job.specs) for job in jobs}) == len(jobs)
    assert all(len(set(job.specs)) == len(job.specs) for job in jobs)
