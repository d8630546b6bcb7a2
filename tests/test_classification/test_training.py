"""A training of a classifier with mmengine's runner, from a config file."""

import pytest
from mmengine.config import Config

from ..test_engine.tiny import train
from ..test_study.tiny import write_study

KEY = dict(type='SpatialK', num_charts=2)


@pytest.mark.parametrize('in_memory', [False, True], ids=['each', 'batches'])
@pytest.mark.parametrize('key_cfg', [None, KEY], ids=['stock', 'spatial'])
def test_dark_and_bright_are_told_apart(tmp_path, key_cfg, in_memory):
    write_study(tmp_path)
    config = Config.fromfile(tmp_path / 'classification.py')
    config.merge_from_dict(
        dict(
            work_dir=str(tmp_path / 'work'),
            randomness=dict(seed=0),
            train_cfg=dict(max_iters=20, val_interval=20),
            default_hooks=dict(checkpoint=dict(interval=20)),
            optim_wrapper=dict(optimizer=dict(lr=5e-3)),
            param_scheduler=[dict(type='ConstantLR', factor=1.0, by_epoch=False)],
            train_dataloader=dict(dataset=dict(in_memory=in_memory)),
            model=dict(backbone=dict(key_cfg=key_cfg, drop_path_rate=0.0)),
        )
    )
    config.train_dataloader.collate_fn = dict(type='default_collate')
    runner = train(config)
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    assert runner.losses[-1]['loss'] < 0.5 * runner.losses[0]['loss']
    runner.load_checkpoint(str(tmp_path / 'work' / 'iter_20.pth'))
    after = runner.model.state_dict()
    assert all((value == after[name]).all() for name, value in before.items())
    assert runner.test()['accuracy/top1'] > 90
