"""What the names in a pickle are answered by: small functions that make data, and nothing else."""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ['LABELS', 'MAKERS', 'FlatStorage', 'History', 'Name', 'Record', 'UnsafePickle']


class UnsafePickle(Exception):
    """A pickle asks for something that is no data.

    Args:
        wanted (str): Dotted name of what it asks for, or the request in words.
    """

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted


@dataclass(frozen=True)
class Name:
    """A name in a pickle, such as ``torch._utils._rebuild_tensor_v2``: a label, nothing else."""

    dotted: str


class Record(dict):
    """The attributes of a plain object (``Namespace``, ``CfgNode``, ...) as a dict."""


@dataclass
class History:
    """What mmengine's ``HistoryBuffer`` holds.

    Args:
        log (np.ndarray): Logged values, (n,).
        counts (np.ndarray): Their counts, (n,).
        max_length (int): How many are kept.
    """

    log: np.ndarray
    counts: np.ndarray
    max_length: int = 1000000


@dataclass
class FlatStorage:
    """The memory of one or more tensors.

    Args:
        nbytes (int): Its size.
        dtype (torch.dtype): Type of its elements.
        memory (bytearray | None): Its bytes; None where only shapes are wanted.
    """

    nbytes: int
    dtype: torch.dtype
    memory: bytearray | memoryview | None

    def flat(self, dtype: torch.dtype | None = None) -> Tensor:
        """All elements, (n,); tensors made from one storage share its memory."""
        dtype = dtype or self.dtype
        numel = self.nbytes // dtype.itemsize
        if self.memory is None:
            return torch.empty(numel, dtype=dtype, device='meta')
        if not numel:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(self.memory, dtype=dtype, count=numel)


# ---- containers


def put(target: Any, keys: list, values: list) -> None:
    """Set items of a dict, and of nothing else."""
    if not isinstance(target, dict):
        raise UnsafePickle(f'to set an item of a {type(target).__name__}')
    for key, value in zip(hashable(keys), values, strict=True):
        target[key] = value


def hashable(keys: list) -> list:
    """Keys as they are; nested tuples, whose hash can take for ever, are refused."""
    for key in keys:
        parts = key if isinstance(key, tuple) else [key]
        for part in parts:
            if not isinstance(part, str | bytes | int | float | complex | type(None) | Name):
                raise UnsafePickle(f'a key of type {type(part).__name__}')
    return keys


def answer(name: Any, arguments: Any) -> Any:
    """Answer a call."""
    if not isinstance(name, Name) or name.dotted not in MAKERS:
        raise UnsafePickle(f'to call {name.dotted if isinstance(name, Name) else "a value"}')
    if not isinstance(arguments, tuple):
        raise UnsafePickle(f'to call {name.dotted} without arguments')
    return MAKERS[name.dotted](*arguments)


# ---- makers: numpy

#: Element types of arrays; never ``O``, which holds objects.
NUMPY_TYPES = re.compile(r'[?bBhHiIlLqQefdFDgG]|[biufcSU]\d{1,5}|M8|m8')


def make_dtype(code: Any = None, align: Any = False, copy: Any = False) -> np.dtype:
    """``np.dtype('f8', False, True)``."""
    if not isinstance(code, str) or not NUMPY_TYPES.fullmatch(code):
        raise UnsafePickle(f'a numpy type {code!r}'[:80])
    return np.dtype(code, copy=True)


def set_byte_order(dtype: np.dtype, state: Any) -> None:
    """The state of a plain ``np.dtype``: its byte order is all that may be in it."""
    plain = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None,) * 3
    if not plain or state[1] not in ('<', '>', '|', '='):
        raise UnsafePickle('a numpy type with fields')
    dtype.__setstate__((3, state[1], None, None, None, -1, -1, 0))  # type: ignore[attr-defined]


def make_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """``_reconstruct(ndarray, (0,), b'b')``, which a state follows."""
    if kind != Name('numpy.ndarray'):
        raise UnsafePickle('an array of another class')
    return np.empty(0, np.int8)


def fill_array(array: np.ndarray, shape: Any, dtype: Any, fortran: Any, data: Any) -> None:
    """The state of a plain array."""
    whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes | bytearray) or not whole:
        raise UnsafePickle('an array that holds no numbers')
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError('an array is longer or shorter than its shape says')
    state: Any = 1, shape, dtype, bool(fortran), bytes(data)
    array.__setstate__(state)


def make_array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any = 'C') -> np.ndarray:
    """``_frombuffer``, of pickles of protocol 5."""
    array = np.empty(0, np.int8)
    fill_array(array, shape, dtype, order == 'F', data)
    return array


def make_scalar(dtype: Any, data: Any = b'') -> Any:
    """``scalar(dtype, bytes)``."""
    array = np.empty(0, np.int8)
    fill_array(array, (1,), dtype, False, data)
    return array[0]


# ---- makers: torch

#: Storage classes, which occur in persistent ids.
STORAGES = re.compile(r'torch(\.storage|\.cuda)?\.([A-Z]\w*Storage)')
STORAGE_TYPES = {
    'Float': torch.float32,
    'Double': torch.float64,
    'Half': torch.float16,
    'BFloat16': torch.bfloat16,
    'Long': torch.int64,
    'Int': torch.int32,
    'Short': torch.int16,
    'Char': torch.int8,
    'Byte': torch.uint8,
    'Untyped': torch.uint8,
    'Bool': torch.bool,
    'ComplexFloat': torch.complex64,
    'ComplexDouble': torch.complex128,
}


def storage_dtype(label: Any) -> torch.dtype:
    """Type of the elements of a storage class."""
    match = STORAGES.fullmatch(label.dotted) if isinstance(label, Name) else None
    kind = match[2].removesuffix('Storage') if match else ''
    if kind not in STORAGE_TYPES:
        raise UnsafePickle(label.dotted if isinstance(label, Name) else 'an unknown storage')
    return STORAGE_TYPES[kind]


def make_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """``_rebuild_tensor`` and ``_rebuild_tensor_v2``: a view of a storage, within its bounds."""
    return view(storage, None, offset, size, stride)


def make_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any
) -> Tensor:
    """``_rebuild_tensor_v3``, whose storage has no type of its own."""
    if not isinstance(dtype, torch.dtype):
        raise UnsafePickle('a tensor without a type')
    return view(storage, dtype, offset, size, stride)


def view(storage: Any, dtype: torch.dtype | None, offset: Any, size: Any, stride: Any) -> Tensor:
    """A view of a storage.

    Raises:
        ValueError: It reaches beyond the storage.
    """
    if not isinstance(storage, FlatStorage):
        raise UnsafePickle('a tensor without a storage')
    size, stride = tuple(size), tuple(stride)
    whole = all(type(n) is int and n >= 0 for n in (offset, *size, *stride))
    flat = storage.flat(dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if not whole or (math.prod(size) and last >= flat.numel()):
        raise ValueError('a tensor reaches beyond the data that it is stored in')
    if not math.prod(size):
        return torch.empty(size, dtype=flat.dtype, device=flat.device)
    return flat.as_strided(size, stride, offset)


def make_parameter(data: Any, *rest: Any) -> Tensor:
    """A parameter is its tensor here."""
    if not isinstance(data, Tensor):
        raise UnsafePickle('a parameter without a tensor')
    return data


def make_typed(function: Any, kind: Any, arguments: Any, state: Any = None) -> Tensor:
    """``_rebuild_from_type_v2``: a tensor or parameter with attributes, which are left out."""
    if kind not in (Name('torch.Tensor'), Name('torch.nn.parameter.Parameter')):
        raise UnsafePickle(kind.dotted if isinstance(kind, Name) else 'a tensor of another class')
    return make_parameter(answer(function, arguments))


def make_device(kind: Any, index: Any = None) -> str:
    """``torch.device``, as text: nothing is moved there."""
    return f'{kind}:{index}' if index is not None else str(kind)


# ---- makers: Python


def make_ordered(items: Any = ()) -> collections.OrderedDict:
    """``OrderedDict([[key, value], ...])``."""
    found: collections.OrderedDict[Any, Any] = collections.OrderedDict()
    pairs = list(items.items()) if isinstance(items, dict) else [tuple(pair) for pair in items]
    put(found, [key for key, _ in pairs], [value for _, value in pairs])
    return found


def make_dict(*arguments: Any) -> dict:
    """``defaultdict(factory)`` and ``Counter(dict)``, without what makes them special."""
    found = {}
    for argument in arguments:
        if isinstance(argument, dict):
            found.update(argument)
    return found


def make_record(*arguments: Any) -> Record:
    """An object of a class whose attributes are data."""
    record = Record()
    for argument in arguments:
        if isinstance(argument, dict):
            record.update(argument)
    return record


def make_reconstructed(kind: Any, base: Any = None, state: Any = None) -> Any:
    """``copyreg._reconstructor(cls, object, None)``, of old pickles."""
    return answer(kind, (state,) if isinstance(state, dict) else ())


def make_new(kind: Any, *arguments: Any) -> Any:
    """``copyreg.__newobj__(cls, *args)``."""
    return answer(kind, arguments)


def make_history(*arguments: Any) -> History:
    """A ``HistoryBuffer`` before its state."""
    return History(np.empty(0), np.empty(0))


def make_attribute(owner: Any, name: Any) -> Name:
    """``getattr(HistoryBuffer, 'mean')``: the names of its own statistics, as labels."""
    if owner != Name(HISTORY) or name not in STATISTICS:
        raise UnsafePickle('builtins.getattr')
    return Name(f'{HISTORY}.{name}')


def make_bytes(text: Any, encoding: Any = 'latin1') -> bytes:
    """``_codecs.encode(text, 'latin1')``, how old protocols write bytes."""
    if not isinstance(text, str) or encoding not in ('latin1', 'latin-1'):
        raise UnsafePickle('_codecs.encode')
    return text.encode('latin1')


def make_bytearray(data: Any = b'', encoding: Any = 'latin1') -> bytearray:
    """``bytearray(bytes)``; of a number, it would be a demand for memory."""
    data = make_bytes(data, encoding) if isinstance(data, str) else data
    if not isinstance(data, bytes):
        raise UnsafePickle('builtins.bytearray')
    return bytearray(data)


def make_plain(kind: type) -> Callable[..., Any]:
    """Makers of numbers and containers out of plain values."""

    def maker(*arguments: Any) -> Any:
        for argument in arguments:
            if not isinstance(argument, list | tuple | int | float | str | type(None)):
                raise UnsafePickle(f'builtins.{kind.__name__} of a {type(argument).__name__}')
        if kind in (set, frozenset):
            return kind(hashable(list(*arguments)))
        if kind in (list, tuple) and any(isinstance(argument, int) for argument in arguments):
            raise UnsafePickle(f'builtins.{kind.__name__} of a number')
        return kind(*arguments)

    return maker


def make_path(*parts: Any) -> str:
    """A path, as text."""
    return '/'.join(map(str, parts)).replace('//', '/')


HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
#: Methods that its pickle refers to.
STATISTICS = ('min', 'max', 'current', 'mean')
#: Everything that can be called in a pickle, and by what it is answered.
MAKERS: dict[str, Callable[..., Any]] = {
    'torch._utils._rebuild_tensor': make_tensor,
    'torch._utils._rebuild_tensor_v2': make_tensor,
    'torch._utils._rebuild_tensor_v3': make_tensor_v3,
    'torch._utils._rebuild_parameter': make_parameter,
    'torch._utils._rebuild_parameter_with_state': make_parameter,
    'torch._tensor._rebuild_from_type_v2': make_typed,
    'torch.nn.parameter.Parameter': make_parameter,
    'torch.Tensor': make_parameter,
    'torch.Size': make_plain(tuple),
    'torch.device': make_device,
    'torch.torch_version.TorchVersion': make_plain(str),
    'numpy.ndarray': make_array_from_buffer,
    'numpy.dtype': make_dtype,
    'collections.OrderedDict': make_ordered,
    'collections.defaultdict': make_dict,
    'collections.Counter': make_dict,
    'builtins.dict': make_dict,
    'builtins.set': make_plain(set),
    'builtins.frozenset': make_plain(frozenset),
    'builtins.list': make_plain(list),
    'builtins.tuple': make_plain(tuple),
    'builtins.complex': make_plain(complex),
    'builtins.slice': make_plain(slice),
    'builtins.bytearray': make_bytearray,
    'builtins.getattr': make_attribute,
    '_codecs.encode': make_bytes,
    'copyreg._reconstructor': make_reconstructed,
    'copyreg.__newobj__': make_new,
    'argparse.Namespace': make_record,
    'types.SimpleNamespace': make_record,
    'addict.addict.Dict': make_record,
    'yacs.config.CfgNode': make_record,
    'mmengine.config.config.ConfigDict': make_record,
    'mmcv.utils.config.ConfigDict': make_record,
    f'{Record.__module__}.Record': make_record,
    'pathlib.PosixPath': make_path,
    'pathlib.PurePosixPath': make_path,
    'pathlib.WindowsPath': make_path,
    'pathlib.PureWindowsPath': make_path,
    'pathlib._local.PosixPath': make_path,
    HISTORY: make_history,
}
for _core in ('numpy.core', 'numpy._core'):
    MAKERS[f'{_core}.multiarray.scalar'] = make_scalar
    MAKERS[f'{_core}.multiarray._reconstruct'] = make_array
    MAKERS[f'{_core}.numeric._frombuffer'] = make_array_from_buffer
#: Names that occur as values and are never called.
LABELS = frozenset(
    [f'builtins.{name}' for name in ['int', 'float', 'str', 'bool', 'bytes', 'object', 'type']]
    + [f'{HISTORY}.{name}' for name in STATISTICS]
)
