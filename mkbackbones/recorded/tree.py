"""What a recording depends on in a backbone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..fused.exact import is_heard

#: Packages whose modules do the same each time they are called.
STEADY = ('torch.nn.', 'timm.', 'mkbackbones.')
#: Attributes by which a layer shows what it computes to somebody.
OBSERVERS = ('observer', 'observed')


class Tree:
    """The modules of a backbone, as they are now, and what may change without its being another.

    Asking costs some lists that are walked in C: a backbone has some 300 modules.

    Args:
        backbone (nn.Module): The backbone.

    Attributes:
        reason (str | None): Why its passes cannot be recorded, in words.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.modules = list(backbone.modules())
        places = [
            (entries, name)
            for module in self.modules
            for entries in (module._parameters, module._buffers)
            for name in entries
        ]
        self.owners: tuple[dict[str, Any], ...]
        self.names: tuple[str, ...]
        self.owners, self.names = zip(*places) if places else ((), ())
        self.layers = [
            module.__dict__ for module in self.modules if module.__dict__.keys() & set(OBSERVERS)
        ]
        self.reason = unsteady(backbone)

    def tensors(self) -> list[Tensor]:
        """Parameters and buffers, each once."""
        found = map(dict.get, self.owners, self.names)
        return list({id(t): t for t in found if t is not None}.values())

    def stand_ins(self) -> dict[int, nn.Parameter]:
        """Other parameters with the memory of the backbone's, by the ``id`` of those."""
        found = map(dict.get, self.owners, self.names)
        return {
            id(p): nn.Parameter(p.detach(), p.requires_grad)
            for p in found
            if isinstance(p, nn.Parameter)
        }

    @contextmanager
    def standing_in(self, others: dict[int, nn.Parameter]) -> Iterator[None]:
        """Have others in the places of the backbone's parameters.

        Args:
            others (dict[int, nn.Parameter]): What :meth:`stand_ins` gave.
        """
        found = list(map(dict.get, self.owners, self.names))
        try:
            for owner, name, value in zip(self.owners, self.names, found):
                owner[name] = others.get(id(value), value)
            yield
        finally:
            for owner, name, value in zip(self.owners, self.names, found):
                owner[name] = value

    def is_observed(self) -> bool:
        """Whether somebody wants to see what a layer computes in each pass."""
        return any(own.get(name) is not None for own in self.layers for name in OBSERVERS)

    def modes(self) -> tuple[bool, ...]:
        """Which modules are in training mode."""
        return tuple([module.training for module in self.modules])


def unsteady(backbone: nn.Module) -> str | None:
    """Why passes of a backbone cannot be recorded, in words; None where they can."""
    for name, module in backbone.named_modules():
        kind = type(module)
        if not f'{kind.__module__}.'.startswith(STEADY):
            return f"'{name}' is a {kind.__name__} of {kind.__module__.partition('.')[0]}"
        if not name:
            continue
        if is_heard(module):
            return f"'{name}' has hooks"
        if 'forward' in module.__dict__:
            return f"'{name}' has a forward of its own"
    if getattr(backbone, 'with_cp', False):
        return 'with_cp=True computes blocks again in the backward pass'
    return None
