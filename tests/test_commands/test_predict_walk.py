"""docs/predict.md and what ``predict --help`` shows, line by line, on a model without training."""

import io
import re
import shutil
import sys
from pathlib import Path

import cv2
import pytest

from mkbackbones.__main__ import main

from ..test_predict.blobs import picture, write_blobs
from .test_help import DOCUMENTED, examples

ROOT = Path(__file__).parents[2]
DOCS = [
    words for name, words in DOCUMENTED.items() if re.match(r'(predict|README)\.md: predict', name)
]
HELP = [['predict', *words] for words in examples('predict')]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    config, checkpoint = write_blobs(tmp_path)
    Path(config).rename('my_config.py')
    Path('work_dirs/my_config').mkdir(parents=True)
    shutil.copy(checkpoint, 'work_dirs/my_config/epoch_12.pth')
    Path(checkpoint).rename('epoch_12.pth')
    for name in ('pictures/a.png', 'pictures/b.png', 'line1/1.tif', 'line1/deep/2.tif'):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, picture(60, 80, (10, 10, 30, 30, 200)))
    return tmp_path


def test_there_are_lines():
    assert len(DOCS) >= 5 and len(HELP) >= 3


@pytest.mark.parametrize('words', [*DOCS, *HELP], ids=lambda words: ' '.join(words[4:]))
def test_each_line_runs(project, words, monkeypatch):
    monkeypatch.setattr(sys, 'stdin', io.StringIO('line1/1.tif\nline1/deep/2.tif\n'))
    assert main([*words, '--device', 'cpu']) == 0
    out = Path(words[words.index('--out') + 1])
    assert (out / 'predictions.csv').read_text().count('\n') >= 2
    assert (out / 'painted').is_dir() == ('--paint' in words)


def test_the_python_of_the_page(project, capsys):
    text = (ROOT / 'docs/predict.md').read_text(encoding='utf-8')
    (block,) = re.findall(r'```python\n(.*?)```', text, re.S)
    exec(compile(block, 'docs/predict.md', 'exec'), {})
    assert 'white' in capsys.readouterr().out
