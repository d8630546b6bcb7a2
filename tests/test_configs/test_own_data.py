"""The walk of docs/own-data.md, command by command, on a small set of a user's own."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from mmengine.config import Config

from mkbackbones.backbones import ManifoldSwin
from mkbackbones.datasets import SyntheticDefects
from mkbackbones.datasets.writer import write_dataset

ROOT = Path(__file__).parents[2]
ARCH = dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8])


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the configs beside raw COCO files, with settings.py filled in."""
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    made = tmp_path / 'made'
    write_dataset(SyntheticDefects(dict(train=40, val=1, test=1), size=96), made)
    raw = tmp_path / 'raw'
    shutil.copytree(made / 'images/train', raw)
    boxes = json.loads((made / 'annotations/train.json').read_text())
    good = {image['id'] for image in boxes['images'][::2]}
    boxes['annotations'] = [a for a in boxes['annotations'] if a['image_id'] not in good]
    (raw / 'boxes.json').write_text(json.dumps(boxes))
    torch.save(ManifoldSwin(arch=ARCH).state_dict(), tmp_path / 'nano.pth')
    classes = [c['name'] for c in json.loads((raw / 'boxes.json').read_text())['categories']]
    settings = tmp_path / 'configs/own/settings.py'
    text = settings.read_text()
    for name, value in dict(
        classes=tuple(classes), image_scale=(96, 96), crop_size=(64, 64), arch=ARCH,
        channels=[16, 32, 64, 128], checkpoint=str(tmp_path / 'nano.pth'), max_iters=3,
    ).items():  # fmt: skip
        text, count = re.subn(rf'(?m)^{name} = .*$', f'{name} = {value!r}', text)
        assert count == 1, name
    settings.write_text(text)
    # Not in bfloat16, which most CPUs compute with ten times as long.
    schedule = tmp_path / 'configs/_base_/schedules/adamw_12k.py'
    schedule.write_text(
        schedule.read_text().replace('mkbackbones.BFloat16OptimWrapper', 'OptimWrapper')
    )
    study = tmp_path / 'configs/studies/own_data.py'
    here = ''.join(
        f"'{split}_dataloader.{setting}, "
        for split in ('train', 'val', 'test')
        for setting in ("num_workers': 0", "persistent_workers': False")
    )
    few = study.read_text().replace('[0, 1, 2, 3, 4]', '[0, 1]')
    few = few.replace("'train_dataloader.num_workers': 4,", here)
    study.write_text(few)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands():
    text = (ROOT / 'docs/own-data.md').read_text()
    return [shlex.split(line) for line in re.findall(r'(?m)^    (python -m .*)$', text)]


@pytest.mark.slow
def test_every_command_of_the_walk(project):
    assert len(commands()) == 10
    shutil.copytree('raw', 'new')
    for command in commands():
        command = [word.replace('iter_6000', 'iter_3') for word in command[1:]]
        if 'calibrate-threshold' in command:  # with as few good pictures as there are
            command[command.index('0.01')] = '0.5'
            command += ['--device', 'cpu']
        if 'predict' in command:
            command += ['--device', 'cpu']
        if 'train' in command or 'test' in command:
            command += ['--device', 'cpu', '--cfg-options', 'randomness.seed=0']
            command += [f'{s}_dataloader.num_workers=0' for s in ('train', 'val', 'test')]
            command += [
                f'{s}_dataloader.persistent_workers=False' for s in ('train', 'val', 'test')
            ]
        if 'study' in command:
            command += ['--device', 'cpu']
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    assert Path('parts.png').is_file() and list(Path('painted').rglob('*.*'))
    assert 'alarm' in Path('found/predictions.csv').read_text().splitlines()[0]
    assert Path('found/gallery.html').is_file() and Path('threshold.html').is_file()
    notes = {p.key: p.value for p in onnx.load('model.onnx').metadata_props}
    stored = json.loads(Path('threshold.json').read_text())['threshold']
    assert json.loads(notes['alarm_above']) == stored
    results = list(Path('work_dirs/studies/own_data').rglob('result.json'))
    assert len(results) == 6
    assert 'SpatialK' in Path('work_dirs/studies/own_data/report.html').read_text()


@pytest.mark.parametrize('name', ['faster-rcnn', 'mask-rcnn', 'upernet'])
def test_settings_reach_every_config(project, name):
    cfg = Config.fromfile(f'configs/own/{name}.py')
    assert cfg.model.backbone.arch == ARCH
    assert cfg.model.backbone.init_cfg.checkpoint.endswith('nano.pth')
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[1].end == 3
    classes = cfg.train_dataloader.dataset.metainfo.classes
    heads = cfg.model.roi_head if name != 'upernet' else cfg.model
    counts = [head.num_classes for key, head in heads.items() if key.endswith('head')]
    assert counts and set(counts) == {len(classes)}
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == 'data/parts/'
