"""What is tried in an environment: ``python steps.py NAME FOLDER``, from any folder.

Ends with code 0 and prints a word or a number for the table, or fails with a traceback. It is run
by the Python of that environment and imports nothing of the tests.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

DETECTOR, SEGMENTOR = 'faster-rcnn_swin-nano-stock', 'upernet_swin-nano-stock'
CLASSIFIER = 'swin-t-stock_tiny100'
#: Stochastic depth off: otherwise two passes of the same network differ.
SWIN = """
_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
default_scope = 'mmdet'
model = dict(backbone=dict(drop_path_rate=0.0, init_cfg=None, with_cp=False))
"""
UPERNET = """
_base_ = 'mmseg::_base_/models/upernet_swin.py'
default_scope = 'mmseg'
model = dict(backbone=dict(drop_path_rate=0.0), decode_head=dict(in_channels=[96, 192, 384, 768]))
"""


def command(*words):
    """Run one of our commands; return what it printed."""
    words = [sys.executable, '-m', 'mkbackbones', *map(str, words)]
    done = subprocess.run(words, capture_output=True, text=True, encoding='utf-8', errors='replace')
    assert done.returncode == 0, f'{words[3:]}:\n{(done.stdout + done.stderr)[-3000:]}'
    return done.stdout


def imports(folder):
    """Everything that configs name."""
    import mkbackbones

    assert mkbackbones.ManifoldSwin and mkbackbones.load_checkpoint
    import mmdet.datasets
    import mmdet.models
    import mmseg.datasets
    import mmseg.models

    assert mmdet.models and mmdet.datasets and mmseg.models and mmseg.datasets
    return mkbackbones.ops.backend()


def doctor(folder):
    """Whether it is content."""
    done = subprocess.run(
        [sys.executable, '-m', 'mkbackbones', 'doctor', '--json'],
        capture_output=True,
        text=True,
        encoding='utf-8',
    )
    wrong = json.loads(done.stdout)['wrong']
    assert done.returncode == bool(wrong)
    return '; '.join(fault['what'] for fault in wrong) or 'content'


def says(folder):
    """The sentence that a user is told, in place of a traceback."""
    done = subprocess.run(
        [sys.executable, '-m', 'mkbackbones', 'train', DETECTOR, '--device', 'cpu'],
        capture_output=True,
        text=True,
        encoding='utf-8',
        cwd=folder,
    )
    assert 'Traceback' not in done.stderr, done.stderr[-3000:]
    told = [line for line in done.stderr.splitlines() if 'pip ' in line]
    assert told, done.stdout + done.stderr
    return re.sub(r'^.*?(?:[wW]arning|error): ', '', told[0])


def train(folder):
    """A detector, a segmentor and a classifier, four steps each, and a test of what came out."""
    counts = ('--num-train', 8, '--num-val', 2, '--num-test', 2, '--size', 128)
    command('prepare-dataset', 'synthetic', '--out', folder / 'data/synthetic', *counts)
    write_image_folder(folder / 'data/tiny100')
    options = ('train_cfg.max_iters=4', 'train_cfg.val_interval=4', 'train_dataloader.batch_size=2')
    for config in (DETECTOR, SEGMENTOR, CLASSIFIER):
        out = folder / config
        shared = ('--device', 'cpu', '--work-dir', out)
        command('train', config, *shared, '--cfg-options', *options)
        weights = next(out.glob('iter_4.pth'))
        command('test', config, weights, *shared)
    return 'detector, segmentor, classifier'


def write_image_folder(root):
    """Noise of as many classes as the config has."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (('train', 10), ('val', 1)):
        for label in range(100):
            place = root / split / f'{label:03d}'
            place.mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(image).save(place / f'{i}.png')


def model_of(path, seed=0):
    """The seeded model of a config, not in training."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope
    from mmengine.utils import import_modules_from_strings

    import mkbackbones

    assert mkbackbones.__version__
    cfg = Config.fromfile(path)
    scope = cfg.get('default_scope', 'mmdet')
    import_modules_from_strings([f'{scope}.models'])
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg.model)
    return model.eval()


def distance(one, other):
    """Largest difference of the feature maps of two models, relative to the largest value."""
    import torch

    torch.manual_seed(1)
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        pairs = list(zip(one.extract_feat(x), other.extract_feat(x)))
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def swapped(folder, name, text, *key):
    """Write a config of the library, and the same with another backbone."""
    stock, other = folder / f'{name}.py', folder / f'{name}_manifold.py'
    stock.write_text(text, encoding='utf-8')
    words = ('arch=tiny', 'drop_path_rate=0.0', *key)
    command('swap-backbone', stock, other, '--force', '--backbone', *words)
    return stock, other


def swap(folder):
    """Mask R-CNN of mmdet and UPerNet of mmseg get a backbone, and build."""
    for name, text in (('mask', SWIN), ('uper', UPERNET)):
        _, other = swapped(folder, name, text, 'key_cfg.type=SpatialK')
        assert 'Manifold' in type(model_of(other).backbone).__name__
    return 'mmdet, mmseg'


def warm_start(folder):
    """A whole stock detector goes into the swapped one, which computes the same."""
    import torch
    from mmengine.runner import load_checkpoint

    stock, other = swapped(folder, 'warm', SWIN, 'key_cfg.type=SpatialK')
    before, after = model_of(stock), model_of(other, seed=7)
    torch.save({'state_dict': before.state_dict()}, folder / 'stock.pth')
    load_checkpoint(after, str(folder / 'stock.pth'))
    found = distance(before, after)
    assert found < 1e-4, found
    return f'{found:.1e}'


def fold(folder):
    """A linear key folds into the stock backbone of mmdet, which computes the same."""
    import torch

    stock, other = swapped(folder, 'fold', SWIN, 'key_cfg.type=LinearK')
    model = model_of(other)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    torch.save({'state_dict': model.state_dict()}, folder / 'linear.pth')
    command('fold', other, folder / 'linear.pth', folder / 'folded.pth', '--to', 'mmdet', '--force')
    plain = model_of(stock, seed=7)
    state = torch.load(folder / 'folded.pth', weights_only=True)['state_dict']
    plain.load_state_dict(state, strict=True)
    found = distance(model, plain)
    assert found < 1e-4, found
    return f'{found:.1e}'


STEPS = {
    'import': imports,
    'doctor': doctor,
    'says': says,
    'train': train,
    'swap': swap,
    'warm start': warm_start,
    'fold': fold,
}

if __name__ == '__main__':
    place = Path(sys.argv[2])
    import os

    os.environ['MKBACKBONES_DATA'] = str(place / 'data')
    print(f'\nresult: {STEPS[sys.argv[1]](place)}')
