"""A stopped and resumed training computes what an uninterrupted one computes."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mkbackbones.engine.exact_resume import (
    ENTRY,
    ExactResumeHook,
    ResumedBatches,
    random_states,
    restore_random_states,
)

from .tiny import MANIFOLD_SWIN, detection_config, segmentation_config, train

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

K = 3
HOOK = dict(type='mkbackbones.ExactResumeHook')
BACKBONE = dict(MANIFOLD_SWIN, key_cfg=dict(type='SpatialK', num_charts=2))
SCHEDULE = [dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=2 * K)]


def straight_and_resumed(config, images, tmp_path, checkpoint=f'iter_{K}.pth', **changes):
    """The runners of 2k iterations, and of k iterations that start from the middle of them."""
    changes = {'custom_hooks': [HOOK], 'param_scheduler': SCHEDULE, **changes}
    straight = train(config(images, tmp_path / 'a', BACKBONE, max_iters=2 * K, **changes))
    stopped = train(config(images, tmp_path / 'b', BACKBONE, max_iters=K, **changes))
    resumed = train(
        config(
            images, tmp_path / 'c', BACKBONE, max_iters=2 * K, resume=True,
            load_from=str(tmp_path / 'b' / checkpoint), **changes,
        )
    )  # fmt: skip
    assert stopped.losses == straight.losses[:K]
    return straight, resumed


def assert_same(straight, resumed):
    assert straight.losses[-len(resumed.losses) :] == resumed.losses and resumed.losses
    for (name, a), b in zip(
        straight.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name


@pytest.mark.parametrize('config', [detection_config, segmentation_config])
def test_resume_is_exact(config, images, tmp_path):
    assert_same(*straight_and_resumed(config, images, tmp_path))


def test_without_the_hook_it_is_not(images, tmp_path):
    """What the hook is for: should this pass one day, mmengine does it itself."""
    straight, resumed = straight_and_resumed(detection_config, images, tmp_path, custom_hooks=[])
    assert straight.losses[K:] != resumed.losses


def test_resume_is_exact_with_workers(images, tmp_path):
    changes = {'train_dataloader.num_workers': 2}
    assert_same(*straight_and_resumed(detection_config, images, tmp_path, **changes))


def test_resume_is_exact_when_the_data_run_out(images, tmp_path, monkeypatch):
    """A sampler that ends is restarted in between, which draws from the generators, too."""
    monkeypatch.setattr('mmengine.runner.loops.time', SimpleNamespace(sleep=lambda seconds: None))
    changes = {
        'train_dataloader.sampler': dict(type='DefaultSampler', shuffle=True, _delete_=True),
        'train_dataloader.batch_size': 3,
    }
    assert_same(*straight_and_resumed(segmentation_config, images, tmp_path, **changes))


def test_resume_is_exact_with_an_epoch_based_loop(images, tmp_path):
    def config(*args, max_iters, **changes):
        config = detection_config(*args, **changes)
        config.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_iters // K)
        config.train_dataloader.sampler.type = 'DefaultSampler'
        config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
        config.default_hooks.sampler_seed = dict(type='DistSamplerSeedHook')
        return config

    assert_same(*straight_and_resumed(config, images, tmp_path, checkpoint='epoch_1.pth'))


def test_validation_does_not_touch_the_random_numbers(images, tmp_path):
    def config(*args, **changes):
        config = segmentation_config(*args, **changes)
        config.train_cfg.update(val_interval=1)
        config.val_cfg = dict()
        config.val_dataloader = dict(
            config.train_dataloader, sampler=dict(type='DefaultSampler', shuffle=False)
        )
        config.val_evaluator = dict(type='IoUMetric')
        config.default_hooks.checkpoint.update(save_best='aAcc', rule='greater')
        return config

    straight, resumed = straight_and_resumed(config, images, tmp_path)
    assert_same(straight, resumed)
    plain = train(
        segmentation_config(
            images, tmp_path / 'd', BACKBONE, max_iters=2 * K, custom_hooks=[HOOK],
            param_scheduler=SCHEDULE,
        )
    )  # fmt: skip
    assert plain.losses == straight.losses


def test_a_checkpoint_written_during_validation_is_of_the_training_before_it():
    """As mmengine does for the best score, of which it takes note in the last checkpoint."""
    hook, checkpoint = ExactResumeHook(), {}
    torch.manual_seed(0)
    hook.before_val(None)
    torch.rand(5)
    hook.before_save_checkpoint(None, checkpoint)
    torch.rand(5)
    hook.after_val(None)
    wanted = torch.rand(3)
    restore_random_states(checkpoint[ENTRY])
    assert torch.equal(torch.rand(3), wanted)
    hook.before_save_checkpoint(None, checkpoint)
    wanted = torch.rand(3)
    restore_random_states(checkpoint[ENTRY])
    assert torch.equal(torch.rand(3), wanted)


def test_a_loop_that_skips_one_by_one():
    """As older mmengine does."""
    restored = []
    batches = ResumedBatches(iter(range(5)), 2, 0, lambda: restored.append(True))
    assert [next(batches), next(batches)] == [0, 1] and not restored
    assert [next(batches), next(batches)] == [2, 3] and restored == [True]


def test_states_survive_a_file_and_weights_only(tmp_path):
    path = tmp_path / 'states.pth'
    torch.save({ENTRY: random_states()}, path)
    wanted = torch.rand(3)
    restore_random_states(torch.load(path, weights_only=True)[ENTRY])
    assert torch.equal(torch.rand(3), wanted)


def test_what_stands_in_the_way_is_said(images, tmp_path):
    train(detection_config(images, tmp_path, BACKBONE, max_iters=K, custom_hooks=[HOOK]))
    path = tmp_path / f'iter_{K}.pth'
    unsaved = torch.load(path, weights_only=False)
    del unsaved[ENTRY]
    torch.save(unsaved, tmp_path / 'unsaved.pth')
    for file, seed, words in (
        (path, 4, 'set randomness=dict(seed=3)'),
        (tmp_path / 'unsaved.pth', 3, 'saved without ExactResumeHook'),
    ):
        config = detection_config(
            images, tmp_path / f'seed-{seed}', BACKBONE, max_iters=K + 1, custom_hooks=[HOOK],
            resume=True, load_from=str(file), log_level='WARNING', randomness=dict(seed=seed),
        )  # fmt: skip
        train(config)
        logs = ''.join(log.read_text() for log in Path(config.work_dir).rglob('*.log'))
        assert 'Resuming is not exact: ' in logs and words in logs
