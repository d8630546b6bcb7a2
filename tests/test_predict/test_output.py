import pytest

from mkbackbones.predict.output import Output
from mkbackbones.runner.errors import InputError

SETTINGS = dict(config='x', format=['csv'], paint=False, min_score=0.3)


def output(folder, **more):
    return Output(folder / 'out', {**SETTINGS, **more}, ['a'], [(1, 2, 3)])


def test_one_process_at_a_time(tmp_path):
    first, second = output(tmp_path), output(tmp_path)
    with first.opened(), pytest.raises(InputError, match='another process'), second.opened():
        pass
    with second.opened():
        second.finish([])
    second.clear()
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_damaged_settings_are_told(tmp_path):
    with output(tmp_path).opened():
        pass
    (tmp_path / '.out.predict/settings.json').write_text('{')
    with pytest.raises(InputError, match=r'\.out\.predict'):
        output(tmp_path)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    with (
        pytest.raises(InputError, match='cannot write beside'),
        output(tmp_path / 'file').opened(),
    ):
        pass
