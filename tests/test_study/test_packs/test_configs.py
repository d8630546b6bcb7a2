"""Configs of runs as data, with their tuples, and without running anything."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from mkbackbones.study.packs.configs import (
    name_tuples,
    named_tuples,
    put_places,
    read_config,
    write_data,
)
from mkbackbones.study.records.plain_config import config_text

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
#: Names of entries: those of arguments, and others.
KEYS = st.from_regex(r'[a-z_]{1,4}', fullmatch=True) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_tuples_survive_json(value):
    assert repr(named_tuples(json.loads(json.dumps(name_tuples(value))))) == repr(value)


@given(value=VALUES.filter(lambda value: 'inf' not in repr(value)))
def test_what_is_written_is_read(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp('run')
    config = dict(scale=(448, 448), entry=dict(value=value))
    (folder / 'config.py').write_text(config_text(Config(config)), encoding='utf-8')
    assert repr(read_config(folder)) == repr(config)


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        "a = dict(b=open('ran', 'w'))",
        "a = [open('ran', 'w')]",
        "a = dict(**open('ran', 'w'))",
        "open('ran', 'w').b = 1",
        'a = (',
        'a = b',
        'a = ' + '(' * 400 + ')' * 400,
    ],
)
def test_what_is_no_data_is_not_run(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'config.py').write_text(text)
    (tmp_path / 'config.json').write_text('{"a": [1, 2]}')
    assert read_config(tmp_path) == dict(a=[1, 2])
    (tmp_path / 'config.json').unlink()
    assert read_config(tmp_path) is None
    assert not (tmp_path / 'ran').exists()


def test_places(tmp_path):
    config = dict(a=('<data>/x', ['<study>/y']), b=dict(c=1))
    write_data(tmp_path, put_places(config, {'<data>': '/data', '<study>': "/a 'study'"}))
    assert read_config(tmp_path) == dict(a=('/data/x', ["/a 'study'/y"]), b=dict(c=1))
    assert Config.fromfile(tmp_path / 'config.py').a[1] == ["/a 'study'/y"]
