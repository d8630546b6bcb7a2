"""Read a pickle as data: nothing that it names is imported or called.

A pickle is a program whose verbs are *get this name*, *call it* and *set its state*. Here a name
is a :class:`Name`, a mere label; calling one runs the small function that ``MAKERS`` holds for it,
all of them in ``pickle_makers.py``, and no object has a state but those that :func:`set_state`
knows. So there is no list of classes whose every method would have to be harmless: what is not
written in these two files does not happen, and is refused by name.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from .pickle_makers import (
    LABELS,
    MAKERS,
    STORAGES,
    FlatStorage,
    History,
    Name,
    Record,
    UnsafePickle,
    answer,
    fill_array,
    hashable,
    put,
    set_byte_order,
)

__all__ = ['FlatStorage', 'History', 'Name', 'UnsafePickle', 'read_pickle']


def read_pickle(file: IO[bytes], storage: Callable[[Any], FlatStorage] | None = None) -> Any:
    """Read the next pickle of a file.

    Args:
        file (IO[bytes]): Open at the start of a pickle; left behind its end.
        storage (Callable, optional): Gives the storage for a persistent id.

    Returns:
        Any: Containers, numbers, strings, arrays, tensors, :class:`History`, :class:`Record`.

    Raises:
        UnsafePickle: It asks for what is no data.
        Exception: It is malformed; of any type.
    """
    return DataUnpickler(file, storage).load()


# The unpickler that is written in Python, since its verbs can be replaced one by one.
class DataUnpickler(pickle._Unpickler):
    """Python's unpickler with every verb that reaches outside replaced."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    if TYPE_CHECKING:  # what typeshed does not know of it
        stack: list[Any]
        append: Callable[[Any], None]
        pop_mark: Callable[[], list[Any]]
        read: Callable[[int], bytes]

    def __init__(
        self, file: IO[bytes], storage: Callable[[Any], FlatStorage] | None = None
    ) -> None:
        super().__init__(file, encoding='utf-8')
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        module = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}.get(module, module)
        return lookup(f'{module}.{name}')

    def persistent_load(self, pid: Any) -> FlatStorage:
        if self.storage is None:
            raise UnsafePickle('a persistent id')
        return self.storage(pid)

    def call(self) -> None:
        """REDUCE, and NEWOBJ, whose arguments lie likewise."""
        arguments = self.stack.pop()
        self.stack[-1] = answer(self.stack[-1], arguments)

    def call_with_keywords(self) -> None:
        """NEWOBJ_EX."""
        if self.stack.pop() != {}:
            raise UnsafePickle('a call with keywords')
        self.call()

    def set_state(self) -> None:
        """BUILD."""
        state = self.stack.pop()
        set_state(self.stack[-1], state)

    def set_item(self) -> None:
        """SETITEM."""
        value, key = self.stack.pop(), self.stack.pop()
        put(self.stack[-1], [key], [value])

    def set_items(self) -> None:
        """SETITEMS."""
        items = self.pop_mark()
        put(self.stack[-1], items[::2], items[1::2])

    def make_dict(self) -> None:
        """DICT."""
        items = self.pop_mark()
        self.append({})
        put(self.stack[-1], items[::2], items[1::2])

    def append_one(self) -> None:
        """APPEND."""
        value = self.stack.pop()
        extend(self.stack[-1], [value])

    def append_many(self) -> None:
        """APPENDS."""
        values = self.pop_mark()
        extend(self.stack[-1], values)

    def add_items(self) -> None:
        """ADDITEMS."""
        values = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise UnsafePickle('a set of another type')
        self.stack[-1].update(hashable(values))

    def make_frozenset(self) -> None:
        """FROZENSET."""
        values = self.pop_mark()
        self.append(frozenset(hashable(values)))

    def byte_array(self) -> None:
        """BYTEARRAY8; what is asked for is read first, and not laid out first."""
        length = int.from_bytes(self.read(8), 'little')
        self.append(bytearray(self.read(length)))

    def refuse(self) -> None:
        """Verbs that no checkpoint needs."""
        raise UnsafePickle('a class of old Python or an extension of the pickle format')

    dispatch[pickle.REDUCE[0]] = dispatch[pickle.NEWOBJ[0]] = call
    dispatch[pickle.NEWOBJ_EX[0]] = call_with_keywords
    dispatch[pickle.BUILD[0]] = set_state
    dispatch[pickle.SETITEM[0]] = set_item
    dispatch[pickle.SETITEMS[0]] = set_items
    dispatch[pickle.DICT[0]] = make_dict
    dispatch[pickle.APPEND[0]] = append_one
    dispatch[pickle.APPENDS[0]] = append_many
    dispatch[pickle.ADDITEMS[0]] = add_items
    dispatch[pickle.FROZENSET[0]] = make_frozenset
    dispatch[pickle.BYTEARRAY8[0]] = byte_array
    for _verb in ('INST', 'OBJ', 'EXT1', 'EXT2', 'EXT4', 'NEXT_BUFFER', 'READONLY_BUFFER'):
        dispatch[getattr(pickle, _verb)[0]] = refuse


def extend(target: Any, values: list) -> None:
    """Extend a list, and nothing else."""
    if type(target) is not list:
        raise UnsafePickle(f'to append to a {type(target).__name__}')
    target.extend(values)


def lookup(dotted: str) -> Any:
    """What a pickle gets for a name: a type of elements, or a label."""
    module, _, name = dotted.rpartition('.')
    if module == 'torch' and isinstance(vars(torch).get(name), torch.dtype):
        return vars(torch)[name]
    if dotted in MAKERS or dotted in LABELS or STORAGES.fullmatch(dotted):
        return Name(dotted)
    raise UnsafePickle(dotted)


def set_state(target: Any, state: Any) -> None:
    """Answer BUILD, for the objects that have a state."""
    if isinstance(target, Record):
        own, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
        for part in (own, slots):
            if part is not None:
                put(target, list(part), list(part.values()))
    elif isinstance(target, collections.OrderedDict):  # a state dict has versions of modules
        metadata = state.get('_metadata')
        if isinstance(metadata, dict):
            target._metadata = metadata  # type: ignore[attr-defined]
    elif isinstance(target, History):
        target.log, target.counts = numbers(state['_log_history']), numbers(state['_count_history'])
        target.max_length = int(state['max_length'])
    elif isinstance(target, np.dtype):
        set_byte_order(target, state)
    elif isinstance(target, np.ndarray):
        _, shape, dtype, fortran, data = state
        fill_array(target, shape, dtype, fortran, data)
    else:
        raise UnsafePickle(f'to set the state of a {type(target).__name__}')


def numbers(array: Any) -> np.ndarray:
    """A one-dimensional array of numbers."""
    array = np.asarray(array)
    if array.ndim != 1 or array.dtype.kind not in 'biuf':
        raise UnsafePickle('a training history that holds no numbers')
    return array
