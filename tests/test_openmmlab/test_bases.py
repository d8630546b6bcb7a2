"""``_base_ = 'mmseg::...'`` whatever the distribution of mmseg is called, and in any order."""

import subprocess
import sys

import pytest

CONFIG = """
_base_ = 'mmseg::_base_/models/fcn_unet_s5-d16.py'
default_scope = 'mmseg'
custom_imports = dict(imports=['mkbackbones'])
"""


@pytest.mark.parametrize(
    'code',
    [
        'import mkbackbones\nfrom mmengine.config import Config',
        'from mmengine.config import Config\nimport mkbackbones',
    ],
    ids=['mmengine later', 'mmengine first'],
)
def test_an_import_is_enough(tmp_path, code):
    pytest.importorskip('mmseg')
    (tmp_path / 'config.py').write_text(CONFIG, encoding='utf-8')
    code += "\nprint(Config.fromfile('config.py').model.type)"
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == 'EncoderDecoder', done.stderr


def test_tools_of_others_get_it_from_a_first_base(tmp_path):
    """As docs/environments.md says: nothing of ours is imported before the config is read."""
    pytest.importorskip('mmseg')
    (tmp_path / 'first.py').write_text("__import__('mkbackbones')\n", encoding='utf-8')
    text = CONFIG.replace("_base_ = '", "_base_ = ['first.py', '").replace("d16.py'", "d16.py']")
    (tmp_path / 'config.py').write_text(text, encoding='utf-8')
    code = "from mmengine.config import Config\nprint(Config.fromfile('config.py').model.type)"
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == 'EncoderDecoder', done.stderr
