"""Our operators against those that mmcv compiles, at the level of mmcv's extension module.

Runs where the environment has compiled ones, or where MKBACKBONES_COMPILED_PYTHON names the
interpreter of an environment that has (any torch version, with numpy and mmcv beside it).
"""

import os
import subprocess
from pathlib import Path

import pytest
import torch

import mkbackbones.ops
from mkbackbones.ops import extension

from . import compiled_cases

INTERPRETER = 'MKBACKBONES_COMPILED_PYTHON'
TOLERANCES = {
    # mmcv takes the logarithm of the rounded probability, and its exponential in float32 always.
    'sigmoid_focal_loss': dict(rtol=1e-4, atol=1e-5),
    # Locations become coordinates in another order of operations; times the width of the map.
    'ms_deform_attn': dict(rtol=1e-4, atol=1e-4),
}


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
    """What the compiled operators return: {'device': ..., 'results': {case: outputs}}."""
    interpreter = os.environ.get(INTERPRETER)
    if interpreter:
        path = tmp_path_factory.mktemp('compiled') / 'reference.pt'
        script = Path(compiled_cases.__file__)
        subprocess.run([interpreter, str(script), str(path)], check=True, cwd=path.parent)
        return torch.load(path, weights_only=True)
    if mkbackbones.ops.backend() == 'compiled':
        import mmcv._ext

        return compiled_cases.run_all(mmcv._ext)
    pytest.skip(
        f"mmcv has no compiled operators here; set {INTERPRETER} to an environment's "
        'interpreter that has them'
    )


@pytest.fixture(scope='module')
def table(request, reference):
    """Collects one row a case and prints them all in the end."""
    rows = []
    yield rows
    capture = request.config.pluginmanager.getplugin('capturemanager')
    with capture.global_and_fixture_disabled():
        print(f'\n\nMax. absolute difference from compiled mmcv ({reference["device"]})')
        print(f'{"operator":22}{"case":50}{"type":9}{"values":>9}{"gradients":>11}')
        for (operator, case, dtype), values, gradients in rows:
            print(f'{operator:22}{case:50}{dtype:9}{values:>9}{gradients:>11}')


@pytest.mark.parametrize('key', compiled_cases.CASES, ids=' '.join)
def test_against_compiled(key, reference, table):
    expected = reference['results'][key]
    if isinstance(expected, str):
        table.append((key, 'not compiled', ''))
        pytest.skip(f'compiled mmcv, on {reference["device"]}: {expected}')
    outputs = compiled_cases.run(extension, key, reference['device'])
    assert outputs.keys() == expected.keys()

    errors = {}
    for name, tensor in expected.items():
        assert outputs[name].shape == tensor.shape, name
        assert outputs[name].dtype == tensor.dtype, name
        kind = 'gradients' if name.startswith('grad') else 'values'
        # equal_nan: an overlap of boxes without area is 0 / 0 in both
        torch.testing.assert_close(
            outputs[name], tensor, equal_nan=True, **TOLERANCES.get(key[0], {})
        )
        difference = (outputs[name].double() - tensor.double()).abs().nan_to_num()
        errors[kind] = max(errors.get(kind, 0.0), difference.max().item() if len(tensor) else 0.0)
    table.append(
        (key, *(f'{errors[k]:.1e}' if k in errors else '' for k in ('values', 'gradients')))
    )
