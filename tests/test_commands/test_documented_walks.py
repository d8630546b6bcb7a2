"""The command lines of README and docs, run as they stand, with small things in the places of the
reader's own. Each one is run here, or named with the test that runs it."""

import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm import create_model

from mkbackbones.__main__ import main
from mkbackbones.datasets import SyntheticDefects, write_dataset

from ..processes import in_processes
from ..test_datasets.fakes import neu_det_files, write_tree, write_zip
from ..test_datasets.test_public.layouts import deep_pcb, magnetic_tile
from ..test_study.tiny import write_study
from .test_help import DOCUMENTED

ROOT = Path(__file__).parents[2]
ARCH = dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))
#: Faster R-CNN that trains in a second; the key is linear, so that it folds.
NANO = """
_base_ = {base!r}
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, **{arch}),
        key_cfg=dict(type='VanillaK', num_charts=2, act_cfg=None),
    ),
    neck=dict(in_channels=[8, 16, 32, 64]),
)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""
#: Pages of which another test runs every line, or why it cannot be run.
ELSEWHERE = {
    r'own-data\.md: |README\.md: study .*own_data': 'tests/test_configs/test_own_data.py',
    r'(README|predict)\.md: predict ': 'tests/test_commands/test_predict_walk.py',
    r'predict\.md: test .*--tile': 'tests/test_predict/test_against_test_loop.py',
    r'(README|explain)\.md: explain ': 'tests/test_explain/test_command.py',
    r'configs\.md: ': 'tests/test_configs/test_documented_overrides.py',
    r'(README|h[12]00_\S+)\.md: profile-': 'tests/test_profiling (a GPU, minutes)',
    r'(report|log)\.md: ': 'the commands of published studies, which take GPUs and hours',
    r'SOURCE|STUDY|study compare work_dirs': 'a pattern; others show it filled in',
    r'study-machines\.md: ': 'test_study_machines',
    r'deploy\.md: export .*--threshold': 'tests/test_export/test_whole.py',
    r'deploy\.md: export .*--int8': 'tests/test_export/test_lower.py',
    r'deploy\.md: export .*\.pt2': 'tests/test_export/test_program.py',
    r'deploy\.md: fold .*--calibrate': 'tests/test_compress/test_command.py',
    r'(README|compress)\.md: prune-charts ': 'tests/test_compress/test_prune_command.py',
    r'compressed_\S+\.md: ': 'tests/test_compress/test_prune_command.py',
    r'thresholds\.md: ': 'tests/test_decide/test_command.py, with more images',
}


#: What lines of two pages write.
MADE_AGAIN = {'folded.pth', 'model.onnx', 'my_config_manifold.py'}
HERE = {
    name: words
    for name, words in DOCUMENTED.items()
    if not any(re.search(pattern, name) for pattern in ELSEWHERE)
}


def run(words: list[str], *more: str) -> None:
    """Run a command line; ``iter_12000.pth`` of a run is the last one of the small config."""
    words = [re.sub(r'work_dirs/\.\.\.|iter_12000', filled_in, word) for word in words]
    if words[0] == 'swap-backbone':  # a step of Swin-T takes memory that this process would keep
        in_processes(1, run_here, Path.cwd(), [*words, *more])
    else:
        run_here(0, Path.cwd(), [*words, *more])


def run_here(rank: int, folder: Path, words: list[str]) -> None:
    os.chdir(folder)
    assert main(words) == 0, words


def filled_in(found: re.Match) -> str:
    return 'iter_2' if found[0] == 'iter_12000' else 'work_dirs/my_config'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """What the lines name: raw data, configs, weights."""
    monkeypatch.delenv('MKBACKBONES_DATA', raising=False)
    write_dataset(SyntheticDefects(dict(train=4, val=2, test=2), size=64), Path('data/synthetic'))
    base = str(ROOT / 'configs/demo/faster-rcnn_swin-nano-stock.py')
    for name in ('my_config.py', 'faster-rcnn_swin-t-spatial_neu-det.py'):
        Path(name).write_text(NANO.format(base=base, arch=ARCH))
    write_zip(Path('NEU-DET.zip'), neu_det_files('original'))
    write_tree(Path('downloads/DeepPCB'), deep_pcb())
    write_zip(Path('downloads/Magnetic-tile.zip'), magnetic_tile())
    write_dataset(SyntheticDefects(dict(train=6), size=64), Path('photos'))
    Path('photos/images/train').rename('downloads/photos')
    torch.manual_seed(0)
    swin = create_model('swin_tiny_patch4_window7_224', img_size=224)
    save_file(swin.state_dict(), 'swin_tiny.safetensors')
    torch.save(swin.state_dict(), 'swin_tiny.pth')
    run(['train', 'my_config.py', '--device', 'cpu'])
    Path('run.pth').write_bytes(Path('work_dirs/my_config/iter_2.pth').read_bytes())
    return tmp_path


def test_every_line_of_the_docs_is_run_somewhere():
    used = {p for p in ELSEWHERE if any(re.search(p, name) for name in DOCUMENTED)}
    assert used == set(ELSEWHERE), 'a page that is no more'
    for where in ELSEWHERE.values():
        for file in re.findall(r'tests/[\w/]+(?:\.py)?', where):
            assert (ROOT / file).exists(), file
    assert len(HERE) > 10


@pytest.mark.parametrize(
    'exports',
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=['all but exports', 'exports'],
)
def test_what_is_left_of_the_docs(project, exports):
    """In the order of the pages: later lines take what earlier ones have made."""
    lines = [words for words in HERE.values() if (words[0] == 'export') == exports]
    assert lines
    for words in lines:
        for made in MADE_AGAIN & set(words):  # on another page
            Path(made).unlink(missing_ok=True)
        run(words, *(['--device', 'cpu'] if words[0] == 'test' else []))
    outputs = ['model.onnx', 'maps.onnx'] if exports else [
        'my_config_manifold.py',
        'data/neu-det/dataset.json',
        'folded.pth',
        'swin_tiny_mm.pth',
        'data/deep-pcb/dataset.json',
        'data/magnetic-tile/dataset.json',
        'work_dirs/photos',
    ]  # fmt: skip
    for made in outputs:
        assert Path(made).exists(), made


@pytest.mark.slow
def test_study_machines(tmp_path):
    """docs/study-machines.md: one study in halves, packed and merged, and two that are compared."""
    write_study(tmp_path).rename('my_study.py')
    lines = [words for name, words in DOCUMENTED.items() if name.startswith('study-machines.md: ')]
    for words in lines:
        words = [dict(FILE='my_study.py', NUMBER='1').get(word, word) for word in words]
        if words[1] == 'pack':
            # What the study's name gives is not what its file is called here.
            words[2] = 'work_dirs/studies/tiny'
        run(words, *(['--device', 'cpu'] if words[1] in ('run', 'plan') else []))
    assert Path('work_dirs/studies/both/report.html').is_file()
