"""The config of a run: arm, seed, iterations, weights."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import Arm, StudyError, read_study
from mkbackbones.study.define.tasks import Task
from mkbackbones.study.prepare.configs import (
    baseline_backbone,
    read_task_config,
    run_config,
    same_split,
)
from mkbackbones.study.prepare.iterations import count_iterations, set_iterations
from mkbackbones.study.prepare.prepared import prepare_study

from ..tiny import write_study

STOCK = Arm('stock', 'stock', 'baseline', {})
KUA = Arm('kua', 'KUA', 'candidate', dict(key_cfg=dict(type='KUA')))


def task(config='x.py', weights='scratch', **changes):
    content = dict(
        key='t', kind='detection', config=config, primary='AP', data_root=None, options={},
        initial_weights=weights, iters=None,
    )  # fmt: skip
    return Task(**content | changes)


def config():
    return Config(
        dict(
            model=dict(backbone=dict(type='B', key_cfg=dict(type='MLPK', match=1), init_cfg=1)),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
            train_cfg=dict(max_iters=1000, val_interval=100),
            train_dataloader=dict(batch_size=4, sampler=dict(type='DefaultSampler')),
        )
    )


def test_an_arm_replaces_entries_as_a_whole():
    cfg = run_config(config(), task(), KUA, Run('main', 't', 'kua', 3), lr=0.5)
    assert cfg.model.backbone == dict(type='B', key_cfg=dict(type='KUA'), init_cfg=None)
    assert cfg.randomness.seed == 300 and cfg.optim_wrapper.optimizer.lr == 0.5


def test_an_arm_may_replace_the_backbone_but_not_where_it_starts():
    arm = Arm('other', 'other', 'candidate', dict(_delete_=True, type='C'))
    weights = dict(checkpoint='x.pth')
    cfg = run_config(config(), task(weights=weights), arm, Run('main', 't', 'other', 0))
    start = dict(type='Pretrained', checkpoint='x.pth')
    assert cfg.model.backbone == dict(type='C', init_cfg=start)
    assert baseline_backbone(config(), task(weights=weights), STOCK).init_cfg == start


def test_a_task_starts_from_the_backbone_of_another():
    start = task(weights=dict(task='first'))
    cfg = run_config(config(), start, STOCK, Run('main', 't', 'stock', 0), source='a.pth')
    assert cfg.model.backbone.init_cfg == dict(
        type='Pretrained', checkpoint='a.pth', prefix='backbone.'
    )


def test_the_config_given_stays_as_it_is():
    cfg = config()
    run_config(cfg, task(), KUA, Run('main', 't', 'kua', 3), iters=10, lr=0.5)
    assert cfg.to_dict() == config().to_dict()


@settings(max_examples=50, deadline=None)
@given(iters=st.integers(1, 5000), warm_up=st.integers(1, 999))
def test_a_schedule_is_stretched_with_the_training(iters, warm_up):
    cfg = config()
    cfg.param_scheduler = [
        dict(type='LinearLR', begin=0, end=warm_up, by_epoch=False),
        dict(type='CosineAnnealingLR', begin=warm_up, end=1000, by_epoch=False),
    ]
    set_iterations(cfg, iters)
    first, second = cfg.param_scheduler
    assert cfg.train_cfg.max_iters == iters and cfg.train_cfg.val_interval >= 1
    assert 0 == first.begin < first.end and second.begin < second.end
    assert first.end == pytest.approx(warm_up * iters / 1000, abs=1)
    assert second.end == pytest.approx(iters, abs=1)


def long_config():
    cfg = config()
    cfg.param_scheduler = [
        dict(type='LinearLR', begin=0, end=100, by_epoch=False),
        dict(type='MultiStepLR', begin=0, end=1000, milestones=[800, 900], by_epoch=False),
    ]
    return cfg


@pytest.mark.parametrize(
    'options, place',
    [
        ({'train_cfg.val_interval': 800}, 'train_cfg.val_interval'),
        ({'train_cfg': dict(val_interval=800)}, 'train_cfg.val_interval'),
        ({'param_scheduler.0.end': 77}, 'param_scheduler.0.end'),
        ({'param_scheduler.1': dict(milestones=[3, 1500])}, 'param_scheduler.1.milestones'),
    ],
)
def test_what_options_set_is_kept_and_the_rest_stretched(options, place):
    plain, cfg = long_config(), long_config()
    cfg.merge_from_dict(options)
    given = look_up(cfg, place)
    assert [name for name, _, _ in set_iterations(plain, 1600)] == [
        'train_cfg.max_iters',
        'train_cfg.val_interval',
        'param_scheduler.0.end',
        'param_scheduler.1.end',
        'param_scheduler.1.milestones',
    ]
    changed = {name: new for name, _, new in set_iterations(cfg, 1600, options)}
    assert look_up(cfg, place) == given and place not in changed
    assert len(changed) == 4 and changed['param_scheduler.1.end'] == 1600


def test_a_whole_schedule_from_options_is_kept():
    schedule = [dict(type='CosineAnnealingLR', T_max=1600, by_epoch=False)]
    cfg = config()
    cfg.param_scheduler = schedule
    set_iterations(cfg, 1600, {'param_scheduler': schedule})
    assert cfg.param_scheduler[0].T_max == 1600
    assert cfg.train_cfg == dict(max_iters=1600, val_interval=160)


def test_a_short_trial_shrinks_what_options_set_for_the_main_runs():
    cfg = config()
    cfg.train_cfg.val_interval = 800
    set_iterations(cfg, 160, {'train_cfg.val_interval': 800}, planned=1600)
    assert cfg.train_cfg == dict(max_iters=160, val_interval=80)


def look_up(cfg, place):
    for name in place.split('.'):
        cfg = cfg[int(name) if name.isdigit() else name]
    return cfg


def test_epochs_become_iterations():
    cfg = config()
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=2)
    cfg.default_hooks = dict(checkpoint=dict(interval=1))
    cfg.param_scheduler = [
        dict(type='LinearLR', begin=0, end=500, by_epoch=False),
        dict(type='MultiStepLR', begin=0, end=12, milestones=[8, 11]),
    ]
    count_iterations(cfg, num_images=41)  # 11 batches of 4
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=132, val_interval=22)
    warm_up, steps = cfg.param_scheduler
    assert warm_up.end == 500 and steps.end == 132 and steps.milestones == [88, 121]
    assert not steps.by_epoch and cfg.default_hooks.checkpoint.interval == 11
    assert cfg.train_dataloader.sampler.type == 'InfiniteSampler'


def write(tmp_path, text):
    path = tmp_path / 'config.py'
    path.write_text(text)
    return path


FULL = """
data_root = 'data/parts/'
model = dict(backbone=dict(type='B'))
train_cfg = dict(max_iters=5)
train_dataloader = dict(batch_size=2, dataset=dict(ann_file=data_root + 'train.json'))
val_dataloader = dict(dataset=dict(data_root=data_root, ann_file='val.json'))
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='test.json'))
val_evaluator = [dict(ann_file=data_root + 'val.json')]
"""


def test_data_elsewhere_and_options(tmp_path):
    moved = task(
        write(tmp_path, FULL), data_root='/mnt/parts', options={'train_dataloader.batch_size': 8}
    )
    cfg = read_task_config(moved)
    assert cfg.train_dataloader.dataset.ann_file == '/mnt/parts/train.json'
    assert cfg.val_dataloader.dataset.data_root == '/mnt/parts/'
    assert cfg.val_evaluator[0].ann_file == '/mnt/parts/val.json'
    assert cfg.train_dataloader.batch_size == 8
    assert not same_split(cfg)


@pytest.mark.parametrize(
    'text, words',
    [
        (FULL.replace('val_evaluator', 'evaluator'), 'has no val_evaluator'),
        (FULL.replace('max_iters=5', 'val_interval=5'), 'neither train_cfg.max_iters nor'),
        (FULL.replace('backbone', 'trunk'), 'has no backbone'),
        (FULL.replace('(', '((', 1), 'SyntaxError'),
    ],
)
def test_a_config_that_cannot_work(tmp_path, text, words):
    with pytest.raises(StudyError, match=words):
        read_task_config(task(write(tmp_path, text)))


def test_a_config_that_validates_on_the_test_split_is_found(tmp_path):
    text = FULL.replace("'test.json'", "'val.json'")
    assert same_split(read_task_config(task(write(tmp_path, text))))


KEPT = """
    budget = dict(iters=12)
    tasks['classification']['options'] = {'train_cfg.val_interval': 5}
"""


def test_a_study_keeps_what_its_options_set_and_says_what_it_stretched(tmp_path):
    prepared = prepare_study(read_study(write_study(tmp_path, extra=KEPT)))
    run = Run('main', 'classification', 'stock', 0)
    cfg = prepared.config(run, prepared.planned_iterations(run))
    assert cfg.train_cfg.max_iters == 12 and cfg.train_cfg.val_interval == 5
    assert cfg.param_scheduler[0].end == 12
    told = (
        'task classification: stretched from its config file to the budget: train_cfg.max_iters '
        'from 6 to 12, param_scheduler.0.end from 6 to 12; what options set is kept'
    )
    assert prepared.notes == [told] and f'{told}.' in prepared.info().fairness


def test_a_val_interval_beyond_the_file_s_iterations_picks_on_val_all_the_same(tmp_path):
    """The check that nothing is picked on the test split has to look at the main runs."""
    study = write_study(
        tmp_path,
        extra=KEPT.replace('}', ", 'val_dataloader.dataset.split': 'test'}").replace('5', '8'),
    )
    with pytest.raises(StudyError, match='the val and the test split of config'):
        prepare_study(read_study(study))
