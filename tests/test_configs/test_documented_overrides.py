"""The overrides that docs/configs.md gives do what it says: they are read from there."""

import re
import shlex

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mkbackbones.runner.config_files import find_config, read_config

from .zoo import ROOT, libraries

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
TEXT = (ROOT.parent / 'docs' / 'configs.md').read_text()
FILES = dict(re.findall(r'```python\n# my/(\S+)\n(.*?)```', TEXT, re.DOTALL))
COMMANDS = re.findall(r'mkbackbones train (\S+) --cfg-options (.+)', TEXT)


def build(cfg):
    libraries()
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
        return MODELS.build(cfg.model)


def forward_shapes(model, side=64):
    """Whether necks and heads fit the backbone: a forward pass without numbers."""
    with torch.device('meta'):
        return model.extract_feat(torch.zeros(1, 3, side, side))


@pytest.fixture
def project(tmp_path):
    """The folder that the documented files lie in."""
    (tmp_path / 'configs').symlink_to(ROOT, target_is_directory=True)
    (tmp_path / 'my').mkdir()
    for name, content in FILES.items():
        (tmp_path / 'my' / name).write_text(content)
    return tmp_path / 'my'


def test_the_document_has_what_the_tests_look_for():
    assert len(FILES) >= 6 and len(COMMANDS) >= 7


@pytest.mark.parametrize('name', FILES)
def test_files_build(name, project):
    cfg = Config.fromfile(project / name)
    forward_shapes(build(cfg))
    key = name.split('_')[1].rsplit('-', 1)[1]
    wanted = dict(stock=None, spatial='SpatialK', vanilla='VanillaK', mlp='MLPK')[key]
    key_cfg = cfg.model.backbone.get('key_cfg')
    assert (key_cfg and key_cfg.type) == wanted


@pytest.mark.parametrize('name, options', COMMANDS)
def test_options_reach_the_config(name, options):
    options = shlex.split(options)
    cfg = read_config(find_config(name), options)
    build(cfg)
    for option in options:
        path, _, wanted = option.partition('=')
        value = cfg
        for part in path.split('.'):
            value = value[int(part)] if isinstance(value, list) else value[part]
        assert str(value).replace(' ', '') == wanted
    assert find_option_in_pipelines(cfg, options)


def find_option_in_pipelines(cfg, options):
    """A scale that is set by its place in a pipeline has to meet the resizing step."""
    for option in options:
        match = re.match(r'(\w+)\.dataset\.pipeline\.(\d+)\.scale=', option)
        if match and cfg[match[1]].dataset.pipeline[int(match[2])].type != 'Resize':
            return False
    return True


KEYS = sorted((ROOT / '_base_' / 'keys').glob('*.py'))
BACKBONES = sorted((ROOT / '_base_' / 'backbones').glob('*.py'))


@pytest.mark.parametrize('backbone_file', BACKBONES, ids=lambda path: path.stem)
def test_backbones_have_the_stated_channels_with_every_key(backbone_file):
    libraries()
    content = Config.fromfile(backbone_file)
    cfg = dict(content.get('swin') or content.vit)
    cfg.pop('_delete_', None)
    cfg.setdefault('type', 'mkbackbones.ManifoldSwin')
    # The other sizes and pyramids differ in nothing that a key sees.
    full = ('swin-t', 'swinv2-t', 'vit-s_p2-p6', 'dinov3-s_p2-p6')
    keys = KEYS if backbone_file.stem in full else KEYS[:1]
    for key_file in keys:
        with torch.device('meta'):
            backbone = MODELS.build(dict(cfg, key_cfg=Config.fromfile(key_file).key_cfg))
            channels = [out.shape[1] for out in backbone(torch.zeros(1, 3, 32, 32))]
        if 'channels' in content:
            assert channels == content.channels and channels[1:] == content.channels_p3
        else:
            assert channels == [content.pyramid.in_channels]
