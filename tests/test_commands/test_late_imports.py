"""transformers costs seconds at every start, and few configs need it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from mkbackbones.late_imports import NEEDS
from mkbackbones.study.run.executors.warm import MODULES

from ..test_study.tiny import ROOT, write_study

FAKE = {
    '__init__': """
        import os
        import torch
        with open(os.environ['SEEN'], 'a') as file:
            file.write(f'{os.getpid()} ')
        class Adafactor(torch.optim.SGD):
            pass
        class BertConfig:
            pass
        class BertPreTrainedModel(torch.nn.Module):
            pass
        AutoTokenizer = BertModel = BertConfig
    """,
    'modeling_utils': 'def apply_chunking_to_forward(): pass',
    'models/__init__': '',
    'models/bert/__init__': '',
    'models/bert/modeling_bert': """
        class BertAttention: pass
        class BertIntermediate: pass
        class BertOutput: pass
    """,
}


@pytest.fixture
def env(tmp_path):
    """An environment in which a transformers is installed that takes note of its import."""
    for name, text in FAKE.items():
        path = tmp_path / 'packages' / 'transformers' / f'{name}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    paths = [str(tmp_path / 'packages'), str(ROOT), os.environ.get('PYTHONPATH', '')]
    (tmp_path / 'seen').write_text('')
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(filter(None, paths)),
        'SEEN': str(tmp_path / 'seen'),
    }


def run(env, *command):
    """Run a command; return the processes that imported transformers, and what it printed."""
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return Path(env['SEEN']).read_text().split(), done.stdout


IMPORTS = """
    import importlib
    {first}
    for module in {modules}:
        importlib.import_module(module)
    from mmdet.models.utils import BertEncoderLayer
    print(BertEncoderLayer.__mro__[1].__name__)
"""


@pytest.mark.slow
def test_without_this_module_it_is_imported(env):
    """What this is for: should it fail one day, they have learned it."""
    code = IMPORTS.format(first='import mkbackbones', modules=MODULES)
    seen, out = run(env, '-c', dedent(code))
    assert len(seen) == 1 and out.split()[-1] == 'BertPreTrainedModel'


def test_with_it_nothing_imports_it_and_whoever_else_does_gets_it(env):
    """Of all that a worker of a study imports."""
    first = 'from mkbackbones.late_imports import put_off; put_off(), put_off()'
    others = """
        import os
        print(os.path.getsize(os.environ['SEEN']))
        import transformers
        print(transformers.Adafactor.__name__)
    """
    code = dedent(IMPORTS.format(first=first, modules=MODULES)) + dedent(others)
    seen, out = run(env, '-c', code)
    assert out.split()[-3:] == ['object', '0', 'Adafactor'] and len(seen) == 1


def test_types_that_need_it_are_known():
    """Whatever the modules that ask for it register."""
    import mmdet.models.dense_heads.atss_vlfusion_head as head
    import mmdet.models.language_models.bert as bert
    from mmdet.datasets.transforms import text_transformers
    from mmdet.registry import MODELS, TRANSFORMS

    registered = [
        name
        for registry in (MODELS, TRANSFORMS)
        for name, kind in registry.module_dict.items()
        if kind.__module__ in {module.__name__ for module in (head, bert, text_transformers)}
    ]
    assert len(registered) >= 4
    assert all(NEEDS.search(f"dict(type='{name}')") for name in registered)


def study(folder, optimizer):
    options = f"{{'optim_wrapper.optimizer': dict(_delete_=True, type='{optimizer}', lr=1e-3)}}"
    extra = f"""
        seeds = [0]
        tasks['classification']['options'] = {options}
    """
    return write_study(folder, extra=dedent(extra))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='workers are forked on Linux alone')
@pytest.mark.parametrize('optimizer', ['Adafactor', 'SGD'])
def test_a_study_imports_it_for_what_needs_it_alone(optimizer, env, tmp_path):
    command = ('-m', 'mkbackbones', 'study', 'run', study(tmp_path, optimizer), '--device', 'cpu')
    seen, _ = run(env, *command, '--work-dir', tmp_path / 'out')
    # The command, once more started, and the process that its worker is forked from.
    assert len(set(seen)) == (2 if optimizer == 'Adafactor' else 0)
    results = list((tmp_path / 'out').rglob('result.json'))
    assert [len(json.loads(result.read_text())['losses']) for result in results] == [6, 6]


FORKED = """
    import sys, time
    from pathlib import Path
    from mkbackbones.study.run.executors import LocalExecutor
    executor = LocalExecutor(1, [], warm=sys.argv[2] == 'warm')
    job = executor.submit(Path(sys.argv[1]))
    while job.poll() is None:
        time.sleep(0.1)
    executor.close()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='workers are forked on Linux alone')
@pytest.mark.parametrize('optimizer, start', [('Adafactor', 'warm'), ('SGD', 'cold')])
def test_a_worker_gets_it_if_its_config_needs_it(optimizer, start, env, tmp_path):
    """Forked from a process that has begun without it, it starts anew."""
    from mkbackbones.study.define.plan import Run
    from mkbackbones.study.define.spec import read_study
    from mkbackbones.study.prepare.prepared import prepare_study
    from mkbackbones.study.records.plain_config import write_config

    prepared = prepare_study(read_study(study(tmp_path, optimizer)))
    folder = tmp_path / 'runs' / 'a' / 'run'
    folder.mkdir(parents=True)
    write_config(folder, prepared.config(Run('main', 'classification', 'stock', 0)))
    seen, _ = run(env, '-c', dedent(FORKED), folder, start)
    log = (folder / 'console.log').read_text()
    assert (folder / 'result.json').is_file(), log[-2000:]
    assert len(seen) == (optimizer == 'Adafactor')


def test_a_command_starts_again_once_and_with_its_arguments(env, tmp_path):
    config = tmp_path / 'glip.py'
    config.write_text(
        "default_scope = 'mmdet'\n"
        "model = dict(type='GLIP', backbone=dict(type='SwinTransformer', embed_dims=96),\n"
        "    neck=dict(type='FPN', in_channels=[96, 192, 384, 768], out_channels=8, num_outs=4))\n"
    )
    out = tmp_path / 'a name with spaces.py'
    out.write_text('')
    seen, _ = run(env, '-m', 'mkbackbones', 'swap-backbone', config, out, '--force')
    assert len(seen) == 1 and 'ManifoldSwin' in out.read_text()
