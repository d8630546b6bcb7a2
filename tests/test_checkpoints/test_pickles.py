"""Pickles are read as data: what torch.save writes comes back, and nothing in a file is run."""

import argparse
import collections
import functools
import io
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer

from mkbackbones.checkpoints import CheckpointError
from mkbackbones.checkpoints.pickle_makers import LABELS, MAKERS
from mkbackbones.checkpoints.pickles import UnsafePickle, read_pickle
from mkbackbones.checkpoints.source import load_file


def save(content, path, **options):
    torch.save(content, path, **options)
    return path


def training_checkpoint():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    history = HistoryBuffer([0.5, 2.0], [1, 3])
    return model, {
        'state_dict': model.state_dict(),
        'optimizer': optimizer.state_dict(),
        'message_hub': {'log_scalars': collections.OrderedDict(loss=history)},
        'args': argparse.Namespace(lr=np.float64(0.5), layers=[1, 2]),
        'table': np.arange(6.0).reshape(2, 3),
        'columns': np.asfortranarray(np.arange(6, dtype='>i4').reshape(2, 3)),
        'device': torch.device('cuda', 0),
        'size': torch.Size([1, 2]),
        'dtype': torch.bfloat16,
        'half': torch.randn(3).bfloat16(),
        'parameter': torch.nn.Parameter(torch.randn(2)),
        'view': torch.arange(10)[2:8:2],
        'empty': torch.empty(0, 3),
        'scalar': torch.tensor(3.0),
        'mask': torch.tensor([True, False]),
        'words': [{1, 2}, 1 + 2j, b'abc', (None, 'x'), collections.defaultdict(list, a=[1])],
    }


@pytest.mark.parametrize('new', [True, False])
@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_a_training_checkpoint_comes_back(tmp_path, new, protocol):
    model, saved = training_checkpoint()
    options = dict(_use_new_zipfile_serialization=new, pickle_protocol=protocol)
    found = load_file(save(saved, tmp_path / 'x.pth', **options))
    assert found.keys() == saved.keys()
    for name, value in saved['state_dict'].items():
        assert torch.equal(found['state_dict'][name], value)
    assert found['state_dict']._metadata == saved['state_dict']._metadata
    torch.optim.AdamW(model.parameters()).load_state_dict(found['optimizer'])
    history = found['message_hub']['log_scalars']['loss']
    assert history.log.tolist() == [0.5, 2.0] and history.counts.tolist() == [1, 3]
    assert found['args'] == {'lr': 0.5, 'layers': [1, 2]}
    for name in ('table', 'columns'):
        assert np.array_equal(found[name], saved[name])
    for name in ('half', 'parameter', 'view', 'empty', 'scalar', 'mask'):
        assert torch.equal(found[name], saved[name]) and found[name].dtype == saved[name].dtype
    assert (found['device'], found['size'], found['dtype']) == ('cuda:0', (1, 2), torch.bfloat16)
    assert found['words'] == [{1, 2}, 1 + 2j, b'abc', (None, 'x'), {'a': [1]}]


@pytest.mark.parametrize('new', [True, False])
def test_tensors_of_one_storage_share_it(tmp_path, new):
    weight = torch.arange(6.0)
    saved = {'a': weight, 'b': weight[2:4]}
    found = load_file(save(saved, tmp_path / 'x.pth', _use_new_zipfile_serialization=new))
    found['a'][2] = 9.0
    assert found['b'][0] == 9.0


@pytest.mark.parametrize('new', [True, False])
def test_shapes_are_read_without_values(tmp_path, new):
    saved = {'a': torch.zeros(3, 4), 'b': torch.zeros(2).half()}
    file = save(saved, tmp_path / 'x.pth', _use_new_zipfile_serialization=new)
    found = load_file(file, shapes_only=True)
    assert found['a'].shape == (3, 4) and found['a'].is_meta and found['b'].dtype == torch.half


# ---- what is refused


def text(word):
    return b'X' + struct.pack('<I', len(word)) + word.encode()


def name(dotted):
    module, _, attribute = dotted.rpartition('.')
    return f'c{module}\n{attribute}\n'.encode()


def archive(pickled, path, compression=zipfile.ZIP_STORED, **entries):
    with zipfile.ZipFile(path, 'w', compression) as file:
        file.writestr('archive/data.pkl', pickled)
        for entry, data in entries.items():
            file.writestr(f'archive/{entry}', data)
    return path


ATTACKS = {
    'system': name('os.system') + b'(' + text('true') + b'tR.',
    'eval': name('builtins.eval') + b'(' + text('1') + b'tR.',
    'getattr of an allowed class': name('builtins.getattr')
    + name('argparse.Namespace')
    + text('__init__')
    + b'\x86R.',
    'getattr of HistoryBuffer': name('builtins.getattr')
    + name('mmengine.logging.history_buffer.HistoryBuffer')
    + text('__init__')
    + b'\x86R.',
    'state of a function': name('torch._utils._rebuild_tensor_v2') + b'}' + text('x') + b'K\x01sb.',
    'state of a class': name('collections.OrderedDict') + b'}' + text('x') + b'K\x01sb.',
    'a number of bytes': name('builtins.bytearray') + b'(I9999999999\ntR.',
    'a numpy type of objects': name('numpy.dtype') + b'(' + text('O') + b'tR.',
    'a codec': name('_codecs.encode') + b'(' + text('x') + text('zip') + b'tR.',
    'load from bytes': name('torch.storage._load_from_bytes') + b'(C\x01xtR.',
    'inst': b'(' + b'ios\nsystem\n.',
    'obj': b'(' + name('os.system') + text('true') + b'o.',
    'extension': b'\x82\x01.',
    'call of a tensor': b'K\x01(tR.',
    'a key that takes for ever': b'}' + b'K\x01' + b'2\x86' * 60 + b'K\x01s.',
}


@pytest.mark.parametrize('attack', ATTACKS)
def test_what_is_no_data_is_refused(tmp_path, attack):
    with pytest.raises(UnsafePickle):
        read_pickle(io.BytesIO(b'\x80\x02' + ATTACKS[attack]))
    with pytest.raises(CheckpointError, match='holds more than weights'):
        load_file(archive(b'\x80\x02' + ATTACKS[attack], tmp_path / 'x.pth'))


# A hook cannot be taken away, so there is one, which looks only while a pickle is being read.
WATCHED: list | None = None


def watch(event, arguments):
    if (
        WATCHED is not None
        and event != 'builtins.id'
        and event.split('.')[0]
        in (
            *(
                'import',
                'exec',
                'compile',
                'open',
                'os',
                'subprocess',
                'socket',
                'shutil',
                'ctypes',
            ),
            *('pickle', 'marshal', 'code', 'function', 'sys', 'builtins', 'glob', 'urllib'),
        )
    ):
        WATCHED.append(event)


sys.addaudithook(watch)

VALUES = st.sampled_from(
    [b'N', b'K\x01', b'K\x00', b'M\xff\xff', b']', b'}', b')', b'\x88', b'C\x02ab', b'\x8f', b'(']
    + [text(word) for word in ('f8', 'latin1', 'mean', '__class__', '__init__', 'a', 'int', 'O')]
    + [name(dotted) for dotted in sorted({*MAKERS, *LABELS, 'torch.float32', 'torch.FloatStorage'})]
)
VERBS = st.sampled_from(
    [b'R', b'\x81', b'\x92', b'b', b's', b'u', b'a', b'e', b'd', b't', b'\x85', b'\x86', b'\x87']
    + [b'\x90', b'\x91', b'o', b'0', b'1', b'2', b'Q', b'\x93', b'q\x00', b'h\x00', b'l', b'\x94']
)


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.one_of(VALUES, VERBS), max_size=24))
def test_no_program_over_the_allowed_names_reaches_anything_else(program):
    global WATCHED
    modules, WATCHED = set(sys.modules), []
    try:
        found = read_pickle(io.BytesIO(b'\x80\x02' + b''.join(program) + b'.'))
    except Exception:
        found = None  # malformed, or refused
    events, WATCHED = WATCHED, None
    assert not events
    assert set(sys.modules) == modules
    assert not callable(found) or type(found).__name__ == 'Name'


@functools.cache
def saved_bytes(new):
    file = io.BytesIO()
    torch.save(training_checkpoint()[1], file, _use_new_zipfile_serialization=new)
    return file.getvalue()


BREAKS = st.tuples(
    st.sampled_from(['change', 'cut', 'end', 'double']), st.floats(0, 1), st.integers(0, 255)
)


@settings(max_examples=500, deadline=None)
@given(st.booleans(), st.lists(BREAKS, min_size=1, max_size=4))
def test_a_broken_checkpoint_is_told_in_a_sentence(tmp_path_factory, new, breaks):
    """Bytes of a real checkpoint changed, cut out or doubled."""
    content = bytearray(saved_bytes(new))
    for kind, where, number in breaks:
        if not content:
            break
        place = int(where * (len(content) - 1))
        if kind == 'change':
            content[place] = number
        elif kind == 'cut':
            del content[place : place + number]
        elif kind == 'double':
            content[place:place] = content[place : place + number]
        else:
            del content[max(place, 1) :]
    path = tmp_path_factory.getbasetemp() / 'broken.pth'
    path.write_bytes(content)
    try:
        load_file(path)
    except CheckpointError as error:
        assert str(path) in str(error) and '\n' not in str(error)


@pytest.mark.parametrize('new', [True, False])
def test_a_storage_that_is_too_short_is_not_read_beyond_its_end(tmp_path, new):
    file = save({'a': torch.arange(4.0)}, tmp_path / 'x.pth', _use_new_zipfile_serialization=new)
    content = file.read_bytes()
    if new:
        with zipfile.ZipFile(file) as old:
            entries = {n: old.read(n) for n in old.namelist()}
        with zipfile.ZipFile(file, 'w') as out:
            for entry, data in entries.items():
                out.writestr(entry, data[:8] if entry.endswith('data/0') else data)
    else:
        file.write_bytes(content[:-8])
    with pytest.raises(CheckpointError, match=r'too short|cut off'):
        load_file(file)


def test_a_file_that_inflates_is_refused_before_it_does(tmp_path):
    """Compressed zeros, and one number repeated by a stride of 0."""
    file = tmp_path / 'x.pth'
    archive(b'\x80\x02}.', file, zipfile.ZIP_DEFLATED, **{'data/0': bytes(300 << 20)})
    with pytest.raises(CheckpointError, match=r'would unpack from 0\.3 MB to 315 MB'):
        load_file(file)
    save({'a': torch.zeros(1).expand(1 << 30)}, file)
    with pytest.raises(CheckpointError, match='would unpack'):
        load_file(file)


@pytest.mark.parametrize(
    ('content', 'word'),
    [
        (b'<!DOCTYPE html><p>Not found', 'web page'),
        (b'\n\n  <html>', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:1', 'Git LFS'),
        (b'', 'empty'),
        (b'{"a": 1}', 'JSON'),
        (b'\x89HDF\r\n', 'HDF5'),
        (b'\x1f\x8b\x08', 'gzip'),
        (b'hello', 'neither'),
    ],
)
def test_other_files_are_called_by_their_name(tmp_path, content, word):
    (tmp_path / 'x.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match=word):
        load_file(tmp_path / 'x.pth')


def test_a_folder_and_a_program_are_no_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match='is a folder'):
        load_file(tmp_path)
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / 'x.pt')
    with pytest.raises(CheckpointError, match='TorchScript'):
        load_file(tmp_path / 'x.pt')


def test_safetensors_are_known_by_their_content(tmp_path):
    from safetensors.torch import save_file

    save_file({'a': torch.arange(3.0)}, tmp_path / 'x.pth')
    assert load_file(tmp_path / 'x.pth')['a'].tolist() == [0, 1, 2]


def test_a_list_of_pickled_module_attributes_is_not_followed_for_ever(tmp_path):
    content = {}
    content['state_dict'] = content
    file = save(content, tmp_path / 'x.pth')
    from mkbackbones.checkpoints import read_source

    with pytest.raises(CheckpointError, match='holds no weights'):
        read_source(file)


def test_the_unpickler_has_no_verb_of_its_own_left_that_calls():
    """Each opcode that could import, call or set a state is replaced."""
    from mkbackbones.checkpoints.pickles import DataUnpickler

    kept = {
        code for code, verb in DataUnpickler.dispatch.items()
        if verb is pickle._Unpickler.dispatch[code]
    }  # fmt: skip
    reaching = 'REDUCE NEWOBJ NEWOBJ_EX BUILD INST OBJ EXT1 EXT2 EXT4 SETITEM SETITEMS APPEND'
    reaching += ' APPENDS ADDITEMS DICT FROZENSET NEXT_BUFFER READONLY_BUFFER BYTEARRAY8'
    assert not kept & {getattr(pickle, verb)[0] for verb in reaching.split()}
