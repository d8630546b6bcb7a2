"""A stopped and resumed training computes what an uninterrupted one computes."""

import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import LOOPS, DefaultScope
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mkbackbones.engine.counted import CountedBatches, Numbered, SeededSamples
from mkbackbones.engine.exact_resume import ENTRY, Batches, can_count, put_inside

from ..processes import in_processes
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


def test_resume_is_exact_when_the_data_run_out(images, tmp_path):
    """A sampler that ends is started again in between."""
    changes = {
        'train_dataloader.sampler': dict(type='DefaultSampler', shuffle=True, _delete_=True),
        'train_dataloader.batch_size': 3,
    }
    assert_same(*straight_and_resumed(segmentation_config, images, tmp_path, **changes))


def by_epoch(*args, max_iters, **changes):
    config = detection_config(*args, **changes)
    config.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_iters // K)
    config.train_dataloader.sampler.type = 'DefaultSampler'
    config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    config.default_hooks.sampler_seed = dict(type='DistSamplerSeedHook')
    return config


def test_resume_is_exact_with_an_epoch_based_loop(images, tmp_path):
    assert_same(*straight_and_resumed(by_epoch, images, tmp_path, checkpoint='epoch_1.pth'))


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


def test_what_was_trained_is_not_loaded_again(images, tmp_path, monkeypatch):
    """Resuming takes the same time from any iteration."""
    loaded = []

    def load(self, results):
        loaded.append(results['img_path'])
        return of_mmcv(self, results)

    of_mmcv = LoadImageFromFile.transform
    monkeypatch.setattr(LoadImageFromFile, 'transform', load)
    straight, resumed = straight_and_resumed(detection_config, images, tmp_path)
    assert_same(straight, resumed)
    batch_size = 2
    assert len(loaded) == batch_size * (2 * K + K + K)


@pytest.mark.parametrize('config', [detection_config, segmentation_config])
def test_any_number_of_workers_draws_the_same(config, images, tmp_path):
    def losses(workers):
        changes = {'train_dataloader.num_workers': workers, 'custom_hooks': [HOOK]}
        runner = train(config(images, tmp_path / f'{workers}', BACKBONE, max_iters=K, **changes))
        return runner.losses

    assert losses(0) == losses(1) == losses(3)


class EagerLoop(IterBasedTrainLoop):
    """Loads before hooks run, as mmengine 0.10.7 does."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.dataloader_iterator._iterator is None:  # else that mmengine is the one here
            self.dataloader_iterator._iterator = iter(self.dataloader)


@pytest.fixture
def eager_loop():
    LOOPS.register_module(module=EagerLoop)
    yield dict(train_cfg=dict(type='EagerLoop'))
    LOOPS.module_dict.pop('EagerLoop')


def test_what_was_loaded_before_hooks_run_is_not_left_out(eager_loop, images, tmp_path):
    """The infinite sampler would go on after it; mmdet's batch sampler keeps indices for later."""
    losses = []
    for workers in (0, 2):
        changes = {
            **eager_loop,
            'custom_hooks': [HOOK],
            'train_dataloader.num_workers': workers,
            'train_dataloader.batch_sampler': dict(type='AspectRatioBatchSampler'),
        }
        config = detection_config(images, tmp_path / f'{workers}', BACKBONE, max_iters=K, **changes)
        losses.append(train(config).losses)
    assert losses[0] == losses[1]


def test_a_loader_that_has_begun_and_cannot_be_built_anew_is_told(eager_loop, images, tmp_path):
    changes = {**eager_loop, 'train_dataloader.num_workers': 1, 'custom_hooks': [HOOK]}
    config = detection_config(images, tmp_path, BACKBONE, max_iters=K, **changes)
    with DefaultScope.overwrite_default_scope('mmdet'):
        loader = Runner.build_dataloader(config.train_dataloader, seed=3)
    runner = Runner(
        model=config.model, work_dir=config.work_dir, train_dataloader=loader,
        train_cfg=config.train_cfg, optim_wrapper=config.optim_wrapper, custom_hooks=[HOOK],
        default_scope='mmdet', randomness=config.randomness, experiment_name='begun',
    )  # fmt: skip
    with pytest.raises(ValueError, match='num_workers=1 needs train_dataloader as a config'):
        runner.train()


def test_resume_is_exact_with_persistent_workers_and_epochs(images, tmp_path):
    changes = {'train_dataloader.num_workers': 2, 'train_dataloader.persistent_workers': True}
    assert_same(
        *straight_and_resumed(by_epoch, images, tmp_path, checkpoint='epoch_1.pth', **changes)
    )


@pytest.mark.parametrize('workers', [0, 2])
def test_a_transform_that_keeps_pictures_gets_them_back(workers, images, tmp_path):
    """mmdet's cached mosaic: what it mixes in depends on all samples before."""

    def config(*args, **changes):
        config = detection_config(*args, **changes)
        dataset = config.train_dataloader.dataset
        mosaic = dict(type='CachedMosaic', img_scale=(64, 64), max_cached_images=4)
        resize = dict(type='Resize', scale=(64, 64))
        dataset.pipeline = [*dataset.pipeline[:2], mosaic, resize, dataset.pipeline[-1]]
        config.train_dataloader.num_workers = workers
        return config

    assert_same(*straight_and_resumed(config, images, tmp_path))


def test_resume_is_exact_in_two_processes(images, tmp_path):
    in_processes(2, train_in_two, images, tmp_path)
    for rank in range(2):
        straight, stopped, resumed = torch.load(tmp_path / f'losses-{rank}.pth')
        assert straight[:K] == stopped and straight[K:] == resumed and len(resumed) == K


def train_in_two(rank, images, tmp_path):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/port', rank=rank, world_size=2
    )
    os.environ['LOCAL_RANK'] = str(rank)
    changes = {
        'custom_hooks': [HOOK], 'param_scheduler': SCHEDULE, 'launcher': 'pytorch',
        'model_wrapper_cfg': dict(type='MMDistributedDataParallel', device_ids=None),
    }  # fmt: skip
    backbone = dict(BACKBONE, out_indices=(3,))  # what the head reads
    losses = []
    for name, last, resume in (('a', 2 * K, False), ('b', K, False), ('b', 2 * K, True)):
        config = segmentation_config(
            images, tmp_path / name, backbone, max_iters=last, resume=resume, **changes
        )
        losses.append(train(config).losses)
    torch.save(losses, tmp_path / f'losses-{rank}.pth')


def test_a_loader_that_streams_is_gone_through_from_the_start():
    class Stream(IterableDataset):
        def __iter__(self):
            return (torch.rand(2) for _ in range(4))

    loader = DataLoader(Stream(), batch_size=None)
    assert not can_count(loader)
    straight, resumed = (Batches(loader, (3, 0), done, replay=True) for done in (0, 4))
    wanted = [next(straight) for _ in range(7)]  # the stream ends in between
    resumed.skip_iter(4)
    for batch in wanted[4:]:
        assert torch.equal(next(resumed), batch)


def test_a_loop_that_skips_one_by_one():
    """As older mmengine does."""
    dataset = SeededSamples(Squares(), (3, 0))
    loader = DataLoader(Squares(), batch_size=2)
    put_inside(loader, CountedBatches(loader.batch_sampler, (3, 0), True, 2), dataset)
    batches = Batches(loader, (3, 0), 2, replay=False)
    assert [next(batches), next(batches)] == [None, None]
    assert next(batches).tolist() == [16, 25] and next(batches).tolist() == [36, 49]
    assert next(batches).tolist() == [64, 81] and next(batches).tolist() == [0, 1]


class Squares(Dataset):
    """A map-style data set, with an attribute that somebody may set."""

    factor = 1

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return self.factor * index**2


def test_a_shuffle_by_the_global_generator_is_resumed():
    def indices(start):
        torch.manual_seed(start)  # whatever was drawn before
        loader = DataLoader(Squares(), batch_size=3, shuffle=True)
        batches = iter(CountedBatches(loader.batch_sampler, (3, 0), True, start))
        return [[number.index for number in next(batches)] for _ in range(10 - start)]

    assert indices(6) == indices(0)[6:]
    for first in (0, 4):  # an epoch shows every sample once
        assert sorted(i for batch in indices(0)[first : first + 4] for i in batch) == list(
            range(10)
        )


@given(
    seed=st.integers(0, 2**32 - 1),
    place=st.tuples(st.integers(0, 10**6), st.integers(0, 10**9), st.integers(0, 10**4)),
    before=st.integers(0, 9),
)
def test_a_sample_depends_on_its_place_alone(seed, place, before):
    class Draws(Dataset):
        def __getitem__(self, index):
            return index, random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    dataset = SeededSamples(Draws(), (seed, 0))
    wanted = dataset[Numbered(7, *place)]
    for _ in range(before):
        dataset[Numbered(1, 0, 0, 0)]
    assert dataset[Numbered(7, *place)] == wanted
    others = [
        dataset[Numbered(7, place[0] + 1, *place[1:])],
        dataset[Numbered(7, *place[:2], place[2] + 1)],
        SeededSamples(Draws(), (seed, 1))[Numbered(7, *place)],
    ]
    assert all(len({*other, *wanted}) == 7 for other in others)  # only the index is shared


def test_what_is_set_on_the_data_set_arrives():
    """As hooks do that switch the pipeline for the last epochs; and a worker may be spawned."""
    inner = Squares()
    dataset = SeededSamples(inner, (3, 0))
    dataset.factor = 2
    assert inner.factor == 2 and dataset.factor == 2 and len(dataset) == 10 and dataset[3] == 18
    copied = pickle.loads(pickle.dumps(dataset))
    assert copied[Numbered(3, 0, 0, 0)] == 18 and copied.words == (3, 0)
    assert not hasattr(dataset, 'something')


def test_a_data_set_that_loads_whole_batches_still_does():
    class Whole(Squares):
        def __getitems__(self, indices):
            return [-index for index in indices]

    numbers = [Numbered(index, 0, 0, place) for place, index in enumerate((4, 2))]
    assert SeededSamples(Whole(), (3, 0)).__getitems__(numbers) == [-4, -2]
    assert SeededSamples(Squares(), (3, 0)).__getitems__(numbers) == [16, 4]


def test_what_stands_in_the_way_is_said(images, tmp_path):
    train(detection_config(images, tmp_path, BACKBONE, max_iters=K, custom_hooks=[HOOK]))
    path = tmp_path / f'iter_{K}.pth'
    unsaved = torch.load(path, weights_only=False)
    del unsaved[ENTRY]
    torch.save(unsaved, tmp_path / 'unsaved.pth')
    for file, seed, words in (
        (path, 4, 'set randomness=dict(seed=3)'),
        (tmp_path / 'unsaved.pth', 3, 'saved without this ExactResumeHook'),
    ):
        config = detection_config(
            images, tmp_path / f'seed-{seed}', BACKBONE, max_iters=K + 1, custom_hooks=[HOOK],
            resume=True, load_from=str(file), log_level='WARNING', randomness=dict(seed=seed),
        )  # fmt: skip
        train(config)
        logs = ''.join(log.read_text() for log in Path(config.work_dir).rglob('*.log'))
        assert 'Resuming is not exact: ' in logs and words in logs
