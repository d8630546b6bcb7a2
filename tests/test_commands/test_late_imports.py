"""transformers costs seconds at every start, and one optimiser of it is hardly ever used."""

import subprocess
import sys
from textwrap import dedent

import pytest

FAKE = """
import os
import torch
open(os.environ['SEEN'], 'a').write('x')
class Adafactor(torch.optim.SGD):
    pass
"""


def run(tmp_path, code):
    """Run code where a transformers is installed that takes note of its import."""
    (tmp_path / 'transformers.py').write_text(FAKE)
    seen = tmp_path / 'seen'
    seen.write_text('')
    env = {'PYTHONPATH': f'{tmp_path}:{":".join(sys.path)}', 'SEEN': str(seen), 'PATH': '/usr/bin'}
    done = subprocess.run(
        [sys.executable, '-c', dedent(code)], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return seen.read_text(), done.stdout


def test_mmengine_alone_imports_it(tmp_path):
    """What this is for: should it fail one day, mmengine has learned it."""
    assert run(tmp_path, 'import mmengine.optim')[0] == 'x'


@pytest.mark.parametrize('optimizer', ['Adafactor', 'SGD'])
def test_it_is_imported_for_its_optimizer_alone(optimizer, tmp_path):
    seen, out = run(
        tmp_path,
        f"""
        from mkbackbones.late_imports import put_off, register_optimizer
        put_off(), put_off()
        import torch
        from mmengine.config import Config
        from mmengine.optim import build_optim_wrapper
        cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='{optimizer}', lr=1.0))))
        register_optimizer(Config())
        register_optimizer(cfg), register_optimizer(cfg)
        wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
        print(type(wrapper.optimizer).__name__)
        """,
    )
    assert out.split()[-1] == optimizer
    assert seen == ('x' if optimizer == 'Adafactor' else '')


def test_whoever_else_imports_it_gets_it(tmp_path):
    code = """
        from mkbackbones.late_imports import put_off
        put_off()
        import mmengine.optim
        import transformers
        print(transformers.Adafactor.__name__)
    """
    assert run(tmp_path, code) == ('x', 'Adafactor\n')
