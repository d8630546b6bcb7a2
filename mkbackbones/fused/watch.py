"""Noticing that a tree of modules is no longer what it was, at next to no cost.

A backbone has some 300 modules with four dicts of hooks each. Every comparison here is one call
that walks a list in C.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ..compat.private import HOOKS


class Watch:
    """The state of a tree of modules: who is in it, hooks, overridden forwards, kinds of weights.

    Args:
        root (nn.Module): The tree's root.
        reads (Mapping[type, tuple[str, ...]]): Further attributes that matter, by class.
    """

    def __init__(self, root: nn.Module, reads: Mapping[type[nn.Module], tuple[str, ...]]) -> None:
        self.root = root
        self.modules = list(root.modules())
        self.types = list(map(type, self.modules))
        dicts = [module.__dict__[name] for module in self.modules for name in HOOKS]
        dicts += [module._modules for module in self.modules]
        self.empty = [entries for entries in dicts if not entries]
        self.filled = [entries for entries in dicts if entries]
        self.lengths = list(map(len, self.filled))
        places = [(module._modules, name) for module in self.modules for name in module._modules]
        for module in self.modules:
            names = ('forward', *reads.get(type(module), ()))
            places += [(module.__dict__, name) for name in names]
        self.owners, self.names = zip(*places)
        self.values = list(map(dict.get, self.owners, self.names))
        weights = [(m._parameters, name) for m in self.modules for name in m._parameters]
        self.weight_owners: tuple[dict[str, Any], ...]
        self.weight_names: tuple[str, ...]
        self.weight_owners, self.weight_names = zip(*weights) if weights else ((), ())
        self.weight_types = self.types_of_weights()

    def types_of_weights(self) -> list[type]:
        return list(map(type, map(dict.get, self.weight_owners, self.weight_names)))

    def changed(self) -> bool:
        """Whether anything is different now."""
        return (
            any(self.empty)
            or list(map(len, self.filled)) != self.lengths
            or list(map(dict.get, self.owners, self.names)) != self.values
            or list(map(type, self.modules)) != self.types
            or self.types_of_weights() != self.weight_types
        )
