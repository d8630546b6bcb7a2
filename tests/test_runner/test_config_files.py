from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mkbackbones.runner import config_files
from mkbackbones.runner.errors import InputError


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    root = tmp_path / 'shipped'
    for name in (
        'detection/swin_coco.py',
        'detection/vit.py',
        'segmentation/vit.py',
        '_base_/b.py',
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    monkeypatch.setattr(config_files, 'config_root', lambda: root)
    return root


class TestFindConfig:
    def test_an_existing_path_wins_over_a_shipped_config(self, shipped):
        Path('swin_coco.py').touch()
        assert config_files.find_config('swin_coco.py') == Path('swin_coco.py')

    @pytest.mark.parametrize(
        'name',
        ['swin_coco.py', 'swin_coco', 'detection/swin_coco.py', 'configs/detection/swin_coco.py'],
    )
    def test_finds_a_shipped_config_by_the_end_of_its_path(self, shipped, name):
        assert config_files.find_config(name) == shipped / 'detection/swin_coco.py'

    def test_an_ambiguous_name_lists_what_to_write(self, shipped):
        with pytest.raises(InputError, match=r'configs/detection/vit.py, configs/segm.*/vit.py'):
            config_files.find_config('vit.py')
        assert config_files.find_config('segmentation/vit.py') == shipped / 'segmentation/vit.py'

    def test_a_typo_gets_the_closest_name(self, shipped):
        with pytest.raises(InputError, match=r'did you mean swin_coco\.py\?'):
            config_files.find_config('swim_coco.py')

    def test_a_wrong_folder_is_not_ignored(self, shipped):
        with pytest.raises(InputError, match=r'did you mean swin_coco\.py\?'):
            config_files.find_config('my/experiments/swin_coco.py')

    @given(
        names=st.sets(st.from_regex(r'[a-c]{1,2}(/[a-c]{1,2}){0,2}', fullmatch=True), min_size=1)
    )
    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_the_full_path_always_names_the_file_itself(self, tmp_path_factory, monkeypatch, names):
        root = tmp_path_factory.mktemp('configs')
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).with_suffix('.py').touch()
        monkeypatch.setattr(config_files, 'config_root', lambda: root)
        for name in names:
            assert config_files.find_config(f'configs/{name}') == (root / name).with_suffix('.py')

    def test_the_checkout_or_the_installation_ships_configs(self):
        assert config_files.config_root().is_dir()


class TestReadConfig:
    def test_overrides_have_the_types_their_text_suggests(self):
        Path('cfg.py').write_text('a = dict(b=1, c=[1, 2])\nd = "x"')
        options = ['a.b=2.5', 'a.c=[3,4]', 'd=y', 'e=True']
        cfg = config_files.read_config(Path('cfg.py'), options)
        assert cfg.to_dict() == {'a': {'b': 2.5, 'c': [3, 4]}, 'd': 'y', 'e': True}

    @pytest.mark.parametrize(
        'text, value',
        [
            ("{'type': 'SpatialK'}", {'type': 'SpatialK'}),
            ('{"a": {"b": [1, null, true]}}', {'a': {'b': [1, None, True]}}),
            ("[{'blocks': [0]}, {'blocks': [1]}]", [{'blocks': [0]}, {'blocks': [1]}]),
            ("('a', 1)", ('a', 1)),
            ("'1'", '1'),
            ('(1, 2)', (1, 2)),
            ('[a,b]', ['a', 'b']),
            ('1,2', [1, 2]),
            ('1e-4', 1e-4),
            ('None', None),
            ('false', False),
            ('', ''),
        ],
    )
    @pytest.mark.parametrize('before', ['None', '3', "'x'"])
    def test_overrides_are_read_as_python_writes_them(self, text, value, before):
        Path('cfg.py').write_text(f'a = dict(b={before})')
        cfg = config_files.read_config(Path('cfg.py'), [f'a.b={text}'])
        assert cfg.to_dict() == {'a': {'b': value}}

    def test_a_dict_goes_into_one_that_is_there(self):
        Path('cfg.py').write_text("a = dict(type='KUA', num_charts=8)")
        cfg = config_files.read_config(Path('cfg.py'), ["a={'num_charts': 4}"])
        assert cfg.a == dict(type='KUA', num_charts=4)

    @pytest.mark.parametrize('text', ["{'type': SpatialK}", '{x', '[{1,', "{'a': 1}}"])
    def test_what_is_no_dict_is_told(self, text):
        Path('cfg.py').write_text('a = 1')
        with pytest.raises(InputError, match='is no dict; write it as Python does') as caught:
            config_files.read_config(Path('cfg.py'), [f'a={text}'])
        assert '\n' not in str(caught.value)

    def test_nothing_in_an_override_is_executed(self, tmp_path):
        Path('cfg.py').write_text('a = 1')
        text = f"__import__('pathlib').Path({str(tmp_path / 'made')!r}).touch()"
        config_files.read_config(Path('cfg.py'), [f'a={text}'])
        with pytest.raises(InputError):
            config_files.read_config(Path('cfg.py'), [f'a={{1: {text}}}'])
        assert not (tmp_path / 'made').exists()

    @pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
    def test_a_base_of_a_library_is_found_by_its_import_name(self, library):
        pytest.importorskip(library)
        name = {
            'mmdet': 'retinanet/retinanet_r50_fpn_1x_coco.py',
            'mmseg': 'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        }[library]
        Path('cfg.py').write_text(f"_base_ = ['{library}::{name}']\nmodel = dict(extra=1)")
        cfg = config_files.read_config(Path('cfg.py'), [])
        assert cfg.default_scope == library and cfg.model.extra == 1

    @pytest.mark.parametrize('option', ['a', 'a.b', 'a.b.c=1', 'a.c=[1,(2]'])
    def test_a_bad_override_is_named(self, option):
        Path('cfg.py').write_text('a = dict(b=1)')
        with pytest.raises(InputError, match='--cfg-options ' + option.split('=')[0]):
            config_files.read_config(Path('cfg.py'), [option])

    @pytest.mark.parametrize(
        'text, reason',
        [
            ('a = (', 'SyntaxError'),
            ('a = b', 'NameError'),
            ("_base_ = 'none.py'", 'none.py'),
            ("custom_imports = dict(imports=['no_such_module'])", 'no_such_module'),
        ],
    )
    def test_a_broken_config_is_named_with_the_reason(self, text, reason):
        Path('cfg.py').write_text(text)
        with pytest.raises(InputError, match=rf'config cfg\.py: .*{reason}') as caught:
            config_files.read_config(Path('cfg.py'), [])
        assert '\n' not in str(caught.value)
