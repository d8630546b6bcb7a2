"""What several tasks have in common is built once, and versions are found without a search."""

from importlib import metadata

import pytest

from mkbackbones.study.define.spec import StudyError, read_study
from mkbackbones.study.prepare import backbones, data_sets, fingerprint, prepared

from ..tiny import write_study

MORE_TASKS = """
    tasks = {
        f'lr{lr}': dict(
            kind='classification',
            config='classification.py',
            options={'optim_wrapper.optimizer.lr': lr},
        )
        for lr in (1e-3, 2e-3, 3e-3)
    }
"""


@pytest.fixture
def built(monkeypatch, tmp_path):
    """Types of the data sets and backbones that are built."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    found = []
    for registry in (backbones.MODELS, data_sets.DATASETS):
        build = registry.build

        def counted(cfg, *more, build=build, **named):
            found.append(cfg['type'])
            return build(cfg, *more, **named)

        monkeypatch.setattr(registry, 'build', counted)
    return found


def test_each_backbone_and_each_data_set_once(built, tmp_path):
    study = prepared.prepare_study(read_study(write_study(tmp_path, extra=MORE_TASKS)))
    assert len(study.tasks) == 3
    assert built.count('mkbackbones.ManifoldSwin') == 2  # two arms
    assert built.count('mkbackbones.ImageFolder') == 3  # three splits
    assert study.tasks['lr0.001'].num_images == study.tasks['lr0.003'].num_images


def test_backbones_that_an_earlier_command_has_built_are_not_built_again(
    built, tmp_path, monkeypatch
):
    def prepare(**options):
        built.clear()
        extra = f"    tasks['classification']['options'] = {options!r}\n"
        prepared.prepare_study(read_study(write_study(tmp_path, extra=extra)))
        return built.count('mkbackbones.ManifoldSwin')

    assert prepare() == 2 and prepare() == 0
    assert prepare(**{'model.backbone.window_size': 5}) == 2
    own = {'custom_imports.imports': ['mkbackbones', 'json']}  # whose code may have changed
    assert prepare(**own) == 2 == prepare(**own)
    monkeypatch.setattr(backbones, 'code_hash', lambda: 'another code')
    assert prepare() == 2
    monkeypatch.setenv('XDG_CACHE_HOME', '/proc/nowhere')
    assert prepare() == 2 == prepare()


def test_tasks_that_differ_are_not_taken_for_each_other(tmp_path):
    extra = MORE_TASKS + "    tasks['lr0.003']['options']['model.backbone.window_size'] = -1\n"
    with pytest.raises(StudyError, match=r'task lr0\.003, arm stock'):
        prepared.prepare_study(read_study(write_study(tmp_path, extra=extra)))


def test_versions_are_those_that_a_search_finds(monkeypatch):
    searched = metadata.packages_distributions()
    fingerprint.library_versions.cache_clear()
    monkeypatch.setattr(metadata, 'packages_distributions', pytest.fail)
    found = fingerprint.library_versions()
    wanted = {
        name: metadata.version(searched[name][0])
        for name in fingerprint.LIBRARIES
        if name in searched
    }
    assert {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg'} <= set(wanted)
    assert {key: value for key, value in found.items() if key != 'python'} == wanted


def test_a_library_of_an_unknown_fork_is_searched_for(monkeypatch):
    known = fingerprint.library_version('mmcv')
    monkeypatch.setattr(fingerprint, 'OTHER_NAMES', {})
    assert fingerprint.library_version('mmcv') == known
    with pytest.raises(metadata.PackageNotFoundError):
        fingerprint.library_version('no_such_library')
