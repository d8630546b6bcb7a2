"""``mim train mkbackbones CONFIG``, with both installers and both kinds of installation."""

from importlib.metadata import PackageNotFoundError, version

import pytest

from .conftest import ROOT, Environment, run

CONFIG = 'mk_toy_config.py'
slow = pytest.mark.slow


@pytest.fixture(scope='module')
def installed(environment, wheel, source):
    """A function that returns an environment with mkbackbones and one of the two mims."""
    made: dict[tuple[str, str], Environment] = {}

    def get(installer, kind):
        if (installer, kind) not in made:
            if installer == 'onedl-mim':
                require_onedl_mim()
            env = environment(*([wheel] if kind == 'wheel' else ['-e', source]))
            if installer == 'openmim':
                install_openmim(env)
            made[installer, kind] = env
        return made[installer, kind]

    return get


def require_onedl_mim():
    try:
        version('onedl-mim')
    except PackageNotFoundError:
        pytest.skip("onedl-mim is not installed; pip install 'mkbackbones[onedl]'")


def install_openmim(env):
    try:
        # It imports pkg_resources, which setuptools dropped in version 82.
        env.install('openmim==0.3.9', 'setuptools<82')
    except AssertionError as error:
        pytest.skip(f'openmim cannot be installed here, e.g. without a package index: {error}')


@pytest.mark.parametrize(
    'installer, kind, config',
    [
        ('onedl-mim', 'wheel', 'name'),
        pytest.param('onedl-mim', 'wheel', 'path', marks=slow),
        pytest.param('onedl-mim', 'editable', 'name', marks=slow),
        pytest.param('onedl-mim', 'editable', 'path', marks=slow),
        pytest.param('openmim', 'wheel', 'name', marks=slow),
        pytest.param('openmim', 'wheel', 'path', marks=slow),
        # An editable installation keeps its configs in the checkout, where openmim does not look.
        pytest.param('openmim', 'editable', 'path', marks=slow),
    ],
)
def test_mim_trains_from_an_empty_folder(installed, tmp_path, toy, installer, kind, config):
    env = installed(installer, kind)
    given = CONFIG if config == 'name' else toy / CONFIG
    env.mim('train', 'mkbackbones', given, '--gpus', 0, cwd=tmp_path)
    assert (tmp_path / 'work_dirs' / 'mk_toy_config' / 'epoch_1.pth').is_file()


@pytest.mark.slow
@pytest.mark.parametrize('installer', ['onedl-mim', 'openmim'])
@pytest.mark.parametrize('kind', ['wheel', 'editable'])
def test_mim_tests_and_runs_tools(installed, tmp_path, toy, installer, kind):
    env = installed(installer, kind)
    env.mim('train', 'mkbackbones', toy / CONFIG, '--gpus', 0, cwd=tmp_path)
    checkpoint = 'work_dirs/mk_toy_config/epoch_1.pth'
    printed = env.mim(
        'test', 'mkbackbones', toy / CONFIG, '-C', checkpoint, '--device', 'cpu', cwd=tmp_path
    )
    assert 'count: 4' in printed
    arguments = [toy / CONFIG, checkpoint, '--device', 'cpu']
    assert 'count: 4' in env.mim('run', 'mkbackbones', 'test', *arguments, cwd=tmp_path)


@pytest.mark.parametrize(
    'installer, kind',
    [
        ('onedl-mim', 'wheel'),
        pytest.param('onedl-mim', 'editable', marks=slow),
        pytest.param('openmim', 'wheel', marks=slow),
    ],
)
def test_mim_searches(installed, tmp_path, installer, kind):
    options = ['--model', 'mask r-cnn', '--dataset', 'neu-seg', '--display-width', '200']
    printed = installed(installer, kind).mim('search', 'mkbackbones', *options, cwd=tmp_path)
    assert 'mask-rcnn_swin-t-spatial_neu-seg' in printed and 'spatialk' in printed
    assert 'faster-rcnn' not in printed and 'cascade' not in printed and 'coco' not in printed


DETECTOR = 'faster-rcnn_swin-nano-stock.py'
SEGMENTOR = 'upernet_swin-nano-stock.py'


@pytest.fixture(scope='module')
def project(tmp_path_factory, installed):
    """A project folder: a dozen synthetic images where the configs look for them."""
    folder = tmp_path_factory.mktemp('project')
    counts = ['--num-train', '8', '--num-val', '2', '--num-test', '2', '--size', '64']
    command = ['prepare-dataset', 'synthetic', '--out', 'data/synthetic', *counts]
    python = installed('onedl-mim', 'wheel').python
    run(python, '-m', 'mkbackbones', *command, cwd=folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    'package, config',
    [
        ('mkbackbones', DETECTOR),
        ('onedl-mmdetection', ROOT / 'configs' / 'demo' / DETECTOR),
        ('mkbackbones', SEGMENTOR),
        ('onedl-mmsegmentation', ROOT / 'configs' / 'demo' / SEGMENTOR),
    ],
)
def test_mim_trains_our_backbones_with_our_tool_and_with_the_library_s(
    installed, project, tmp_path, package, config
):
    options = ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2']
    for loader in ('train_dataloader', 'val_dataloader'):
        options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
    arguments = ['--gpus', 0, '--work-dir', tmp_path, '--cfg-options', *options]
    installed('onedl-mim', 'wheel').mim('train', package, config, *arguments, cwd=project)
    assert (tmp_path / 'iter_2.pth').is_file()
