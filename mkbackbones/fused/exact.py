"""Whether modules are exactly those that the kernels were written for.

The kernels read weights instead of calling modules. That gives what the modules would give only as
long as nothing listens to them, nothing replaces or wraps them, and nothing else is computed from
their weights. Whatever departs from that is called as it is, in plain PyTorch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from timm.layers import DropPath, Mlp, PatchEmbed
from timm.models.vision_transformer import LayerScale
from torch import Tensor, nn

from ..compat.private import HOOKS, can_watch, evaluated
from .watch import Watch


class Known(NamedTuple):
    """What the kernels assume of a class of modules.

    Attributes:
        children (dict[str, tuple[type, ...]] | None): Classes that each child may have; no other
            child is allowed. None: ``check`` looks at what lies below.
        check (Callable | None): What else is wrong with a module of that class, in words; None for
            nothing.
        reads (tuple[str, ...]): Attributes that ``check`` reads.
        called (bool): Whether the module is called on the fused path, so that its own hooks run.
    """

    children: dict[str, tuple[type[nn.Module], ...]] | None = {}
    check: Callable[[Any], str | None] | None = None
    reads: tuple[str, ...] = ()
    called: bool = False


def weight_missing(module: nn.Module) -> str | None:
    """Weights that are not the module's own parameters: shared out, computed by a hook."""
    return None if isinstance(module._parameters.get('weight'), Tensor) else 'has no weight'


def norm_departs(norm: nn.LayerNorm) -> str | None:
    if norm._parameters.get('bias') is None:
        return 'has no bias'
    return weight_missing(norm)


def dropout_active(dropout: nn.Dropout) -> str | None:
    return 'is active' if dropout.training and dropout.p > 0 else None


def drop_path_departs(drop_path: DropPath) -> str | None:
    return None if drop_path.scale_by_keep else 'does not scale what it keeps'


def gelu_departs(gelu: nn.GELU) -> str | None:
    return None if gelu.approximate == 'none' else f'takes the {gelu.approximate} formula'


def embedding_departs(embed: PatchEmbed) -> str | None:
    """The projection has to see each pixel once, and the result to stay a grid."""
    conv: object = embed.proj
    if not isinstance(conv, nn.Conv2d):
        return None  # told already, by class
    side = embed.patch_size
    one_patch = conv.kernel_size == conv.stride == side and side[0] == side[1]
    simple = conv.padding == (0, 0) and conv.dilation == (1, 1) and conv.groups == 1
    if not (one_patch and simple):
        return 'projects something else than its patches'
    return 'flattens its patches' if embed.flatten or embed.output_fmt != 'NHWC' else None


LINEAR = (nn.Linear,)
NORM = (nn.LayerNorm,)
NO_NORM = (nn.Identity,)
DROPOUT = (nn.Dropout,)
DROP_PATH = (DropPath, nn.Identity)
LAYER_SCALE = (LayerScale, nn.Identity)
ACTIVATION = (nn.GELU, nn.ReLU, nn.SiLU)

#: What the kernels know; each of our own classes adds itself where it is defined.
known: dict[type[nn.Module], Known] = {
    nn.Linear: Known(check=weight_missing),
    nn.Conv2d: Known(check=weight_missing),
    nn.LayerNorm: Known(check=norm_departs),
    nn.Identity: Known(),
    nn.ReLU: Known(),
    nn.SiLU: Known(),
    nn.GELU: Known(check=gelu_departs, reads=('approximate',)),
    nn.Dropout: Known(check=dropout_active, reads=('p', 'training')),
    DropPath: Known(check=drop_path_departs, reads=('scale_by_keep',)),
    LayerScale: Known(),
    Mlp: Known(
        dict(fc1=LINEAR, act=ACTIVATION, drop1=DROPOUT, norm=NO_NORM, fc2=LINEAR, drop2=DROPOUT)
    ),
    PatchEmbed: Known(
        dict(proj=(nn.Conv2d,), norm=(nn.LayerNorm, nn.Identity)),
        embedding_departs,
        reads=('patch_size', 'flatten', 'output_fmt'),
    ),
}


@evaluated
def is_heard(module: nn.Module) -> bool:
    """Whether hooks listen to a module."""
    own = module.__dict__
    return any(own.get(name) for name in HOOKS)


def disturbance(module: nn.Module, called: bool = False) -> str | None:
    """What keeps a module from being read instead of called, in words; its class aside.

    Args:
        module (nn.Module): The module.
        called (bool): Whether it is called after all, so that its hooks run. Those of the
            deprecated ``register_backward_hook`` do not: they show the last node of the graph.
    """
    own = module.__dict__
    if not called and is_heard(module):
        return 'has hooks'
    if own.get('_backward_hooks') and own.get('_is_full_backward_hook') is False:
        return 'has hooks'
    if 'forward' in own:
        return 'has a forward of its own'
    if 'parametrizations' in module._modules:
        return 'is parametrised'
    for name, parameter in module._parameters.items():
        if parameter is not None and type(parameter) not in (nn.Parameter, Tensor):
            return f'has a {type(parameter).__name__} as {name}'
    return None


def departure(
    module: nn.Module, allowed: tuple[type[nn.Module], ...] = (), called: bool = False
) -> str | None:
    """How a module or one below it differs from what the kernels were written for.

    Args:
        module (nn.Module): A block, a norm, a patch embedding.
        allowed (tuple[type, ...]): Classes that it may have; all that are :data:`known` by default.
        called (bool): Whether it is called on the fused path, see :class:`Known`.

    Returns:
        str | None: The first difference in words; None where there is none.
    """
    kind = type(module)
    if kind not in (allowed or known):
        return f'is a {kind.__name__}'
    reason = disturbance(module, called)
    if reason is not None:
        return reason
    expected = known[kind]
    if expected.children is not None:
        for name, child in module._modules.items():
            if child is None:
                continue
            if name not in expected.children:
                return f"has '{name}', which they do not know"
            reason = departure(child, expected.children[name])
            if reason is not None:
                return reason if reason.startswith("'") else f"'{name}' {reason}"
    return None if expected.check is None else expected.check(module)


@evaluated
def unit_departure(unit: nn.Module) -> str | None:
    """:func:`departure` of what is decided on as a whole, its own hooks aside if it is called."""
    if not can_watch():
        return 'cannot be watched for hooks'
    expected = known.get(type(unit))
    return departure(unit, called=expected is not None and expected.called)


def computes_linear(module: nn.Module) -> bool:
    """Whether a module computes ``x W^T + b`` of its weight and bias."""
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward


def below(module: nn.Module, path: str) -> nn.Module | None:
    """What lies at a path below a module; None where there is nothing."""
    for name in path.split('.'):
        module = getattr(module, name)
    return module


@evaluated
def reading_departure(module: nn.Module) -> str | None:
    """Why what lies below a module has to be called, piece by piece, instead of being read.

    Args:
        module (nn.Module): A key or a layer with one; its ``linears`` names the Linears below it,
            as paths, whose weights are read where nothing is in the way.

    Returns:
        str | None: The first reason in words; None where there is none.
    """
    if not can_watch():
        return 'cannot be watched for hooks'
    for name, child in module.named_modules():
        if child is not module and (reason := disturbance(child)) is not None:
            return f"'{name}' {reason}"
    linears: Any = module.linears  # names, of a key or a ManifoldQKV
    for path in linears:
        linear = below(module, path)
        if linear is not None and (reason := departure(linear, LINEAR)) is not None:
            return f"'{path}' {reason}"
    return None


class Cached:
    """What was found out about a tree of modules, for as long as the tree stays as it is."""

    def __init__(self) -> None:
        self.found: tuple[Watch, Any] | None = None

    def __reduce__(self) -> tuple:
        return Cached, ()  # a copy belongs to another tree

    def ask(self, root: nn.Module, find: Callable[[nn.Module], Any]) -> Any:
        """``find(root)``, or what it gave before if nothing has changed since."""
        if not can_watch():
            return find(root)
        found = self.found
        if found is None or found[0].root is not root or found[0].changed():
            reads = {kind: entry.reads for kind, entry in known.items() if entry.reads}
            found = self.found = Watch(root, reads), find(root)
        return found[1]
