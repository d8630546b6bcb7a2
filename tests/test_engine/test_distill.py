"""A student learns from a teacher, which is no part of it."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mkbackbones.commands.train import main as command
from mkbackbones.engine import teacher
from mkbackbones.engine.distill import DistillHook, add_distillation
from mkbackbones.engine.distill_losses import feature_loss, key_loss, logit_loss
from mkbackbones.engine.teacher import TeacherError
from mkbackbones.runner.preflight import check_teachers

from .tiny import MANIFOLD_SWIN, STOCK_SWIN, detection_config, segmentation_config, train

CHARTS = dict(MANIFOLD_SWIN, key_cfg=dict(type='SpatialK', num_charts=2), drop_path_rate=0.0)
STOCK = dict(MANIFOLD_SWIN, key_cfg=None, drop_path_rate=0.0)


def teacher_of(build, images, folder, backbone=CHARTS, **changes):
    """Config and checkpoint of a teacher, as the hook takes them."""
    cfg = build(images, folder / 'teacher', backbone, **changes)
    torch.manual_seed(5)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    for name, parameter in model.named_parameters():
        if '.key.' in name:
            nn.init.normal_(parameter, std=0.2)
    text = f'default_scope = {cfg.default_scope!r}\nmodel = {cfg.model.to_dict()!r}\n'
    (folder / 'teacher.py').write_text(text)
    torch.save(dict(state_dict=model.state_dict()), folder / 'teacher.pth')
    files = dict(teacher=str(folder / 'teacher.py'), checkpoint=str(folder / 'teacher.pth'))
    return dict(type='mkbackbones.DistillHook', **files)


def test_the_losses_are_their_formulas():
    torch.manual_seed(0)
    a, b = torch.randn(2, 2, 3, 4, 5).double().unbind()
    variance = sum(float((b[:, c] - b[:, c].mean()).square().sum()) for c in range(b.shape[1]))
    wanted = float((a - b).square().sum()) / variance
    assert float(feature_loss([a], [b])) == pytest.approx(wanted, rel=1e-5)
    means = b.mean((0, 2, 3), keepdim=True).expand_as(b)
    assert float(feature_loss([means, b], [b, b])) == pytest.approx(0.5, rel=1e-5)

    k = torch.randn(6, 9, 8)
    shifted = k + torch.randn(6, 1, 8)  # which softmax does not see
    assert float(key_loss([shifted], [k])) == pytest.approx(0, abs=1e-10)
    assert float(key_loss([torch.zeros_like(k)], [k])) == pytest.approx(1.0, rel=1e-5)

    y, z = torch.randn(2, 2, 3, 4, 4).unbind()
    p, q = (z / 2).softmax(1), (y / 2).softmax(1)
    literal = 4 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(logit_loss(y, z, 2.0), literal)
    assert float(logit_loss(z, z, 2.0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    'build, wrapper',
    [
        (detection_config, 'OptimWrapper'),
        (segmentation_config, 'OptimWrapper'),
        (segmentation_config, 'mkbackbones.BFloat16OptimWrapper'),
    ],
)
def test_the_student_of_a_config_comes_closer(build, wrapper, images, tmp_path):
    hook = dict(teacher_of(build, images, tmp_path), keys=1.0, features=5.0, attention=1.0)
    if build is segmentation_config:
        hook.update(logits=1.0, temperature=2.0)
    optim_wrapper = dict(type=wrapper, optimizer=dict(type='AdamW', lr=3e-3))
    cfg = build(
        images, tmp_path / 'a', STOCK, max_iters=12, custom_hooks=[hook],
        optim_wrapper=optim_wrapper,
    )  # fmt: skip
    runner = train(cfg)
    names = ['features', 'keys', 'attention'] + ['logits'] * (build is segmentation_config)
    for losses in runner.losses:
        parts = [v for n, v in losses.items() if 'loss' in n and n != 'loss']
        assert losses['loss'] == pytest.approx(sum(parts), rel=2e-2)
        assert all(losses[f'loss_distill_{name}'] > 0 for name in names)
    assert (
        runner.losses[-1]['loss_distill_features'] < 0.9 * runner.losses[0]['loss_distill_features']
    )
    model = runner.model
    assert not model._forward_hooks and not model.backbone._forward_hooks
    stored = torch.load(tmp_path / 'a/iter_12.pth', weights_only=False)['state_dict']
    assert stored.keys() == model.state_dict().keys() and not any('teacher' in n for n in stored)


def test_the_teacher_stays_as_it_is_and_the_student_is_as_without_but_for_the_losses(
    images, tmp_path
):
    hook = teacher_of(segmentation_config, images, tmp_path)
    tiny = dict(hook, features=1e-30)
    # Maps that no head reads have no gradients without the hook, and so no decay.
    changes = {'max_iters': 3, 'optim_wrapper.optimizer.weight_decay': 0.0}
    runs = [
        train(segmentation_config(images, tmp_path / name, STOCK, custom_hooks=hooks, **changes))
        for name, hooks in (('a', []), ('b', [tiny]))
    ]
    for a, b in zip(*(run.losses for run in runs)):
        assert {n: v for n, v in b.items() if 'distill' not in n} == a
    for a, b in zip(*(run.model.state_dict().values() for run in runs)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-20)
    stored = [torch.load(tmp_path / name / 'iter_3.pth', weights_only=False) for name in 'ab']
    assert stored[0].keys() == stored[1].keys()  # nothing has to be bridged


def wide(images, folder, hooks, **changes):
    """A student of twice the teacher's width, whose training can be resumed."""
    arch = dict(STOCK['arch'], embed_dims=16)
    return segmentation_config(
        images, folder, dict(STOCK, arch=arch), channels=128, custom_hooks=hooks,
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4)],
        **changes,
    )  # fmt: skip


def test_a_student_of_another_width_learns_and_resumes(images, tmp_path):
    hook = teacher_of(segmentation_config, images, tmp_path)
    hooks = [hook, dict(type='mkbackbones.ExactResumeHook')]
    changes = {'default_hooks.checkpoint.interval': 2, 'optim_wrapper.clip_grad': dict(max_norm=9)}
    whole = train(wide(images, tmp_path / 'a', hooks, max_iters=12, **changes))
    losses = [each['loss_distill_features'] for each in whole.losses]
    assert losses[-1] < 0.9 * losses[0]
    # The optimiser trains the adapters, at the rate of all else.
    (group,) = whole.optim_wrapper.param_groups
    own = {id(parameter) for parameter in whole.model.parameters()}
    adapters = [p for p in group['params'] if id(p) not in own]
    assert [tuple(p.shape[:2]) for p in adapters if p.dim() == 4] == [
        (8, 16), (16, 32), (32, 64), (64, 128),
    ]  # fmt: skip
    assert all(whole.optim_wrapper.optimizer.state[p]['exp_avg'].any() for p in adapters)
    # What is stored is the student as it is.
    stored = torch.load(tmp_path / 'a/iter_2.pth', weights_only=False)
    with DefaultScope.overwrite_default_scope('mmseg'):
        plain = MODELS.build(whole.cfg.model)
    plain.load_state_dict(stored['state_dict'])
    # And the training goes on as if it had not been interrupted.
    (tmp_path / 'b').mkdir()
    changes['resume'] = True
    changes['load_from'] = str(tmp_path / 'a/iter_2.pth')
    resumed = train(wide(images, tmp_path / 'b', hooks, max_iters=12, **changes))
    assert resumed.losses == whole.losses[2:]
    for a, b in zip(*(run.optim_wrapper.param_groups[0]['params'] for run in (whole, resumed))):
        assert torch.equal(a, b)


def test_load_from_takes_no_adapters(images, tmp_path):
    hook = teacher_of(segmentation_config, images, tmp_path)
    changes = {
        'default_hooks.checkpoint.interval': 1,
        'max_iters': 1,
        'optim_wrapper.type': 'mkbackbones.BFloat16OptimWrapper',
        'optim_wrapper.optimizer.lr': 0.0,  # so that they stay what they are at first
    }
    first = train(wide(images, tmp_path / 'a', [hook], **changes))
    changes |= {'load_from': str(tmp_path / 'a/iter_1.pth'), 'randomness.seed': 4}
    second = train(wide(images, tmp_path / 'b', [hook], **changes))
    (a, *own), (b, *others) = (
        run.optim_wrapper.param_groups[0]['params'] for run in (first, second)
    )
    assert torch.equal(a, b) and len(own) == len(others)
    assert own[-1].shape == others[-1].shape and not torch.equal(own[-1], others[-1])


def parts(images, tmp_path, key_cfg=None):
    """Student and teacher of a segmentor, and a batch for them."""
    cfg = segmentation_config(images, tmp_path, CHARTS)
    with DefaultScope.overwrite_default_scope('mmseg'):
        teacher = MODELS.build(cfg.model).eval().requires_grad_(False)
        student = MODELS.build(dict(cfg.model, backbone=dict(CHARTS, key_cfg=key_cfg)))
    return student, teacher, torch.randn(2, 3, 64, 64)


class Called(nn.Module):
    """What mmengine's models have of it: losses in training."""

    def __init__(self, model):
        super().__init__()
        self.backbone, self.decode_head = model.backbone, model.decode_head

    def extract_feat(self, inputs):
        return self.backbone(inputs)

    def forward(self, inputs):
        self.decode_head.forward(self.extract_feat(inputs))
        return dict(loss=inputs.new_zeros(()))


def test_the_same_weights_have_nothing_to_learn(images, tmp_path):
    _, teacher, x = parts(images, tmp_path)
    student = Called(copy.deepcopy(teacher).requires_grad_(True)).train()
    student.decode_head.eval()  # of which dropout and batch norm make something else
    before = copy.deepcopy(teacher.state_dict())
    remove = add_distillation(student, teacher, 1.0, 1.0, 1.0, attention=1.0)
    losses = student(x)
    for name in ('features', 'keys', 'attention', 'logits'):
        assert float(losses[f'loss_distill_{name}']) == pytest.approx(0, abs=1e-6)
    sum(losses.values()).backward()
    assert all(p.grad is None for p in teacher.parameters()) and not teacher.training
    assert all(a.equal(b) for a, b in zip(before.values(), teacher.state_dict().values()))
    student.eval()
    assert list(student(x)) == ['loss']
    student.train()
    remove()
    assert list(student(x)) == ['loss'] and not teacher.backbone._forward_hooks
    assert not any('forward' in vars(m) for m in [*student.modules(), *teacher.modules()])


def test_recomputed_blocks_give_the_same_gradients(images, tmp_path):
    _, teacher, x = parts(images, tmp_path)
    found = []
    for with_cp in (False, True):
        torch.manual_seed(2)
        backbone = MODELS.build(dict(STOCK, with_cp=with_cp))
        student = copy.deepcopy(teacher).requires_grad_(True)
        student.backbone = backbone
        student = Called(student).train()
        student.decode_head.eval()
        add_distillation(student, teacher, 1.0, 1.0, attention=1.0)
        sum(student(x).values()).backward()
        found.append([p.grad for p in student.backbone.parameters()])
    for a, b in zip(*found):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    'arguments, told',
    [
        (dict(teacher=3), 'teacher=3'),
        (dict(checkpoint=''), 'checkpoint='),
        (dict(features=-1.0), 'features=-1.0'),
        (dict(attention='yes'), 'attention='),
        (dict(temperature=0), 'temperature=0'),
        (dict(features=0), 'all 0'),
        (dict(trusted='yes'), 'trusted='),
    ],
)
def test_choices_that_are_none_are_told(arguments, told):
    with pytest.raises(ValueError, match=told):
        DistillHook(**{**dict(teacher='a.py', checkpoint='a.pth'), **arguments})


def damaged(damage, images, tmp_path):
    """A student's config with a teacher that does not go with it."""
    build = detection_config if damage == 'logits' else segmentation_config
    hook = teacher_of(build, images, tmp_path)
    changes = {}
    backbone = STOCK
    if damage == 'config':
        hook['teacher'] = 'nowhere.py'
    elif damage == 'type':
        text = Path(hook['teacher']).read_text()
        Path(hook['teacher']).write_text(text.replace('EncoderDecoder', 'NoSuchSegmentor'))
    elif damage == 'file':
        hook['checkpoint'] = 'nowhere.pth'
    elif damage == 'cut':
        Path(hook['checkpoint']).write_bytes(Path(hook['checkpoint']).read_bytes()[:5000])
    elif damage == 'weights':
        torch.save(dict(state_dict=dict(x=torch.zeros(1))), hook['checkpoint'])
    elif damage == 'mean':
        changes['model.data_preprocessor.mean'] = [1.0, 2.0, 3.0]
    elif damage == 'argument':
        hook['features'] = -1.0
    elif damage == 'name':
        hook['feature'] = 1.0
    elif damage == 'blocks':
        hook['keys'] = 1.0
        backbone = dict(STOCK_SWIN, depths=(1, 1, 1, 1))
    elif damage == 'heads':
        hook['attention'] = 1.0
        backbone = dict(STOCK, arch=dict(STOCK['arch'], num_heads=(1, 2, 2, 2)))
    elif damage == 'logits':
        hook['logits'] = 1.0
    else:
        backbone = dict(STOCK, out_indices=(3,))
    cfg = build(images, tmp_path / 'a', backbone, custom_hooks=[hook], **changes)
    cfg.custom_imports = dict(imports=['mkbackbones'])
    return cfg


#: What the files tell before a runner is built, ...
EARLY = {
    'config': 'nowhere.py, does not exist',
    'file': 'nowhere.pth does not exist',
    'cut': 'teacher.pth',
    'weights': 'does not hold the weights of the teacher',
    'type': 'NoSuchSegmentor',
    'mean': 'data_preprocessor.mean is',
}
#: ... what the arguments do, and what both models together tell when training begins.
WRONG = {'argument': 'features=-1.0', 'name': "; did you mean 'features'?"}
TOGETHER = {
    'blocks': 'the same blocks in both',
    'heads': 'layers.1.blocks.0.attn has 2 heads in the student and 1 in the teacher',
    'logits': 'no decode_head.conv_seg',
    'levels': 'have to be the same',
}


@pytest.mark.parametrize('damage', [*EARLY, *TOGETHER])
def test_teachers_that_do_not_go_are_told(damage, images, tmp_path):
    with pytest.raises(TeacherError, match=(EARLY | TOGETHER)[damage]):
        train(damaged(damage, images, tmp_path))


@pytest.mark.parametrize('damage', [*EARLY, *WRONG, *TOGETHER])
def test_the_command_tells_them_in_a_sentence(damage, images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = damaged(damage, images, tmp_path)
    cfg.experiment_name = damage  # mmengine keeps scopes by it
    lines = [f'{name} = {value!r}\n' for name, value in cfg.to_dict().items()]
    Path('student.py').write_text(''.join(lines))
    assert command(['student.py', '--device', 'cpu']) == 2
    told = capsys.readouterr().err
    assert told.startswith('error: custom_hooks, DistillHook: ') and len(told.splitlines()) == 1
    assert (EARLY | WRONG | TOGETHER)[damage] in told
    # Nothing was begun, unless both models had to be there to tell.
    assert Path('a').exists() == (damage in TOGETHER)


def test_a_teacher_that_goes_is_found_without_its_weights(images, tmp_path, monkeypatch):
    hook = teacher_of(segmentation_config, images, tmp_path)
    cfg = segmentation_config(images, tmp_path / 'a', STOCK, custom_hooks=[hook])
    monkeypatch.setattr(teacher, 'read_source', None)  # which would read them
    state = torch.random.get_rng_state()
    check_teachers(cfg)
    assert torch.random.get_rng_state().equal(state)
