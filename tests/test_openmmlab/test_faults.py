"""What is told of each way in which OpenMMLab can be installed wrongly, and what mends it."""

import importlib.machinery
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.openmmlab.distributions import look
from mkbackbones.openmmlab.faults import fault_of, find_faults
from mkbackbones.openmmlab.glance import is_suspicious

from .fakes import MAINTAINED, MODULE, ORIGINAL, install, uninstall


def faults(site):
    return find_faults(look([str(site)], thorough=True))


def the_fault(site):
    (fault,) = faults(site)
    return fault


@pytest.mark.parametrize('line', [ORIGINAL, MAINTAINED], ids=['original', 'maintained'])
def test_a_whole_line_is_right(tmp_path, line):
    site = install(tmp_path, line)
    assert faults(site) == [] and not is_suspicious([site])
    found = look([site])
    assert {library.version for library in found.values()} == set(line.values())
    assert all(fault_of(module, found) is None for module in found)


def test_nothing_at_all(tmp_path):
    fault = the_fault(tmp_path)
    assert fault.kind == 'missing' and 'mmengine' in fault.breaks
    assert str(fault).endswith(f'pip install {" ".join(MAINTAINED)}')


@pytest.mark.parametrize(
    'line, name, command',
    [
        (ORIGINAL, 'mmcv-lite', "pip install 'mmcv-lite<2.2'"),
        (ORIGINAL, 'mmengine', 'pip install mmengine'),
        (MAINTAINED, 'onedl-mmcv', 'pip install onedl-mmcv'),
    ],
)
def test_a_library_that_others_need_is_missing(tmp_path, line, name, command):
    site = install(tmp_path, {key: value for key, value in line.items() if key != name})
    fault = the_fault(site)
    assert (fault.kind, fault.command) == ('missing', command)
    assert MODULE[name] in fault.sentence


def test_not_everybody_needs_mmdet(tmp_path):
    line = {key: value for key, value in ORIGINAL.items() if key != 'mmdet'}
    found = look([install(tmp_path, line)])
    assert find_faults(found) == []
    assert fault_of('mmdet', found).command == 'pip install mmdet'


def test_two_lines_over_one_another(tmp_path):
    site = install(tmp_path, {**ORIGINAL, **MAINTAINED})
    assert is_suspicious([site])
    fault = the_fault(site)
    assert fault.kind == 'doubled' and not fault.breaks
    assert 'mmcv by mmcv-lite 2.1.0 and onedl-mmcv 2.3.6' in fault.sentence
    before, after = fault.command.split(' && ')
    assert set(before.split()[3:]) == {*ORIGINAL, *MAINTAINED}
    # The files are those of the line that came last.
    wanted = [f'{name}=={version}' for name, version in MAINTAINED.items()]
    assert after.split()[2:] == ['--no-deps', *wanted]


def test_the_line_whose_files_are_there_is_kept(tmp_path):
    fault = the_fault(install(tmp_path, {**MAINTAINED, **ORIGINAL}))
    assert fault.command.endswith('mmcv-lite==2.1.0 mmdet==3.3.0 mmsegmentation==1.2.2')


def test_mmcv_twice_of_one_line(tmp_path):
    site = install(tmp_path, {**ORIGINAL, 'mmcv': '2.1.0'})
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / 'mmcv' / f'_ext{suffix}').touch()
    command = 'pip uninstall -y mmcv-lite mmcv && pip install --no-deps mmcv==2.1.0'
    assert the_fault(site).command == command


def test_compiled_operators_decide_which_line_is_kept(tmp_path):
    mixed = {**MAINTAINED, 'mmcv': '2.1.0'}
    mixed.pop('onedl-mmcv')
    site = install(tmp_path, mixed)
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / 'mmcv' / f'_ext{suffix}').touch()
    before, after = the_fault(site).command.split(' && ')
    assert 'mmcv' not in before.split() and 'mmengine mmdet mmsegmentation' in after


def test_lines_that_are_mixed(tmp_path):
    mixed = {**ORIGINAL, 'onedl-mmsegmentation': '1.4.2'}
    mixed.pop('mmsegmentation')
    site = install(tmp_path, mixed)
    assert is_suspicious([site])
    fault = the_fault(site)
    assert fault.kind == 'mixed'
    assert 'onedl-mmsegmentation 1.4.2 of the maintained one' in fault.sentence
    wanted = 'pip uninstall -y onedl-mmsegmentation && pip install mmsegmentation'
    assert fault.command == wanted


def test_one_of_two_lines_was_uninstalled(tmp_path):
    """What happens to whoever follows pip's advice alone."""
    site = install(tmp_path, {**ORIGINAL, **MAINTAINED})
    uninstall(tmp_path, *ORIGINAL)
    assert is_suspicious([site])
    found = faults(site)
    assert {fault.kind for fault in found} == {'damaged'} and len(found) == 4
    commands = [shlex.split(fault.command) for fault in found]
    assert [words[-1] for words in commands] == [f'{n}=={v}' for n, v in MAINTAINED.items()]
    assert all('--force-reinstall' in words for words in commands)
    assert fault_of('mmdet', look([site])).kind == 'damaged'


def test_a_single_file_is_gone(tmp_path):
    site = install(tmp_path, MAINTAINED)
    (tmp_path / 'mmdet' / 'more.py').unlink()
    fault = the_fault(site)
    assert 'mmdet/more.py' in fault.sentence and fault.breaks == {'mmdet'}


@pytest.mark.parametrize('version, fits', [('2.1.0', True), ('2.2.0', False), ('1.7.2', False)])
def test_versions_that_mmdet_refuses(tmp_path, version, fits):
    site = install(tmp_path, {**ORIGINAL, 'mmcv-lite': version})
    found = faults(site)
    assert len(found) == (0 if fits else 2)
    for fault, module in zip(found, ('mmdet', 'mmseg')):
        assert fault.kind == 'refused' and fault.breaks == {module}
        assert version in fault.sentence
        assert fault.command == "pip install 'mmcv-lite>=2.0.0rc4,<2.2.0'"


def test_what_a_mixture_breaks_is_known(tmp_path):
    """The original mmdet does not take the maintained mmcv."""
    mixed = {**ORIGINAL, 'onedl-mmcv': '2.3.6'}
    mixed.pop('mmcv-lite')
    fault = the_fault(install(tmp_path, mixed))
    assert fault.kind == 'mixed' and fault.breaks == {'mmdet', 'mmseg'}


@given(st.sets(st.sampled_from(sorted(MODULE))), st.sets(st.sampled_from(sorted(MODULE))))
def test_the_command_leaves_one_line(tmp_path_factory, names, gone):
    """Whatever is installed: what the commands leave has no fault but missing files."""
    versions = {**ORIGINAL, **MAINTAINED, 'mmcv': '2.1.0'}
    site = tmp_path_factory.mktemp('site')
    install(site, {name: versions[name] for name in sorted(names)})
    uninstall(site, *(names & gone))
    left = names - gone
    for fault in faults(site):
        assert re.match(r'pip (install|uninstall -y) \S', fault.command)
        for part in fault.command.split(' && '):
            words = [word for word in shlex.split(part)[2:] if not word.startswith('-')]
            words = {re.split('[=<>]', word)[0] for word in words}
            left = left - words if 'uninstall' in part else left | words
    lines = {name in MAINTAINED for name in left}
    assert len(lines) <= 1
    assert len({MODULE[name] for name in left}) == len(left)
