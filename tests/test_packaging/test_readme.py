"""The README's Python runs after the import that it starts from."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / 'README.md'
#: Blocks that define something with what the package itself gives.
SNIPPETS = [
    block
    for block in re.findall(r'```python\n(.*?)```', README.read_text(encoding='utf-8'), re.S)
    if 'register_module' in block
]


def test_there_is_a_key_of_ones_own():
    assert SNIPPETS


@pytest.mark.parametrize('snippet', SNIPPETS)
def test_a_key_of_ones_own_as_the_readme_writes_it(snippet):
    """In a fresh process, since an import anywhere else would hide what is missing."""
    name = re.search(r'class (\w+)', snippet)[1]
    code = (
        f'import mkbackbones\n{snippet}\nimport torch\n'
        f"backbone = mkbackbones.registry.MODELS.build(dict(type='ManifoldSwin', "
        'arch=dict(embed_dims=8, depths=(1,), num_heads=(1,)), out_indices=(0,), '
        f"key_cfg=dict(type='{name}')))\n"
        'print(tuple(backbone(torch.zeros(1, 3, 32, 32))[0].shape))'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert run.stdout.strip().endswith('(1, 8, 8, 8)'), run.stderr
