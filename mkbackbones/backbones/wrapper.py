"""ManifoldKeyBackbone: any registered backbone with manifold keys, as a config."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope
from torch import nn

from ..arguments import CONFIG, refuse_loops, short
from ..attention.inject import apply_manifold_key, manifold_layers, parent_of, replace
from ..attention.self_attention import FusedSelfAttention
from ..compat.modules import add_load_hook
from ..hints import did_you_mean
from ..keys.build import KeyCfg, key_entries
from ..registry import MODELS


@MODELS.register_module(name='ManifoldKeyBackbone')
def manifold_key_backbone(backbone: dict, key_cfg: KeyCfg) -> nn.Module:
    """Build a registered backbone and give it manifold keys.

    ``dict(type='mkbackbones.ManifoldKeyBackbone', backbone=dict(type='SwinTransformer', ...),
    key_cfg=dict(type='SpatialK'))``. What comes back is the inner backbone itself, of a subclass of
    its class (see :class:`ManifoldKeyed`): names of parameters, entries of state dicts and all
    attributes are its own, so checkpoints of a trained detector load as they are.

    Args:
        backbone (dict): Config of the inner backbone, built in the current scope; another
            library's is reached by its scope, e.g. ``type='mmdet.SwinTransformer'``. ``init_cfg``
            belongs here.
        key_cfg (dict | list[dict] | None): See :func:`mkbackbones.apply_manifold_key`.

    Returns:
        nn.Module: The backbone.

    Raises:
        ValueError: If ``backbone`` is no config or its type is not known, or as
            :func:`mkbackbones.apply_manifold_key` raises.
    """
    refuse_loops('backbone', backbone)
    if not CONFIG.allows(backbone):
        raise ValueError(
            f'backbone={short(backbone)} is no config; give the dict of a registered backbone, '
            "e.g. dict(type='mmdet.SwinTransformer', ...)"
        )
    key_entries(key_cfg)
    require_registered(backbone['type'])
    model = apply_manifold_key(MMENGINE_MODELS.build(backbone), key_cfg)
    model.__class__ = keyed_class(type(model))  # type: ignore[arg-type]  # classes are hashable
    return model


if TYPE_CHECKING:
    from mmengine.model import BaseModule as AnyBackbone
else:
    AnyBackbone = object  # the class that it comes before is known at run time


class ManifoldKeyed(AnyBackbone):
    """What a backbone does differently once it has manifold keys.

    It returns a tuple of feature maps and itself from ``train``. ``init_weights`` initialises the
    backbone with its stock attention in place, pretrained weights and conversions included and with
    the random numbers of the stock arm; then the keys start from what the stock layers hold. A
    pretrained file with weights of manifold keys goes into the keys directly.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outs = super().forward(*args, **kwargs)
        return tuple(outs) if isinstance(outs, list) else outs

    def train(self, mode: bool = True) -> 'ManifoldKeyed':
        super().train(mode)  # mmdet's and mmseg's Swin return None
        return self

    def init_weights(self) -> None:
        if hasattr(super(), 'init_weights'):
            with stock_attention(self):
                super().init_weights()

    def __reduce__(self) -> tuple:
        # The class is made at run time: a pickle names the inner one, from which it is made again.
        own = getattr(self, '__getstate__', None)  # every object has one from Python 3.11 on
        return new_keyed, (type(self).__bases__[-1],), vars(self) if own is None else own()


def new_keyed(backbone_class: type[nn.Module]) -> nn.Module:
    """An empty instance of the keyed class, for unpickling."""
    keyed = keyed_class(backbone_class)  # type: ignore[arg-type]  # classes are hashable
    return keyed.__new__(keyed)


@cache
def keyed_class(backbone_class: type[nn.Module]) -> type[nn.Module]:
    """The subclass of a backbone's class that backbones with manifold keys get."""
    return type(
        f'ManifoldKey{backbone_class.__name__}',
        (ManifoldKeyed, backbone_class),
        {'__module__': __name__, '__doc__': backbone_class.__doc__},
    )


@contextmanager
def stock_attention(model: nn.Module) -> Iterator[None]:
    """Put stock attention in the place of manifold keys; afterwards the keys start from it."""
    stand_ins = [StandIn(model, name) for name in manifold_layers(model)]
    for stand_in in stand_ins:
        replace(model, stand_in.place, stand_in.stock)
    try:
        yield
    finally:
        for stand_in in stand_ins:
            replace(model, stand_in.place, stand_in.own)
    for stand_in in stand_ins:
        stand_in.hand_over()


class StandIn:
    """A stock attention layer that takes the place of one with a manifold key for a while.

    Args:
        model (nn.Module): The backbone.
        name (str): Name of a :class:`~mkbackbones.attention.qkv.ManifoldQKV` in it.
    """

    def __init__(self, model: nn.Module, name: str) -> None:
        self.place = name
        manifold: Any = model.get_submodule(name)
        self.manifold = manifold
        self.own: nn.Module = manifold
        self.stock: Any = manifold.stock_part()
        self.weight, self.bias, self.qkv_prefix = 'weight', 'bias', ''
        attention = parent_of(model, name)
        if isinstance(attention, FusedSelfAttention):
            self.place, self.own = name.rpartition('.')[0], attention
            self.stock = attention.to_multihead(self.stock)
            self.weight, self.bias, self.qkv_prefix = 'in_proj_weight', 'in_proj_bias', 'qkv.'
        self.loaded = False
        add_load_hook(self.stock, self.take_manifold_weights)
        self.join_init_info(model)

    def join_init_info(self, model: nn.Module) -> None:
        """Let mmengine's record of initialisations know the parameters."""
        info = getattr(model, '_params_init_info', None)
        if info is None:
            return
        for module in self.stock.modules():
            module._params_init_info = info
        for parameter in self.stock.parameters():
            if parameter not in info:
                mean = parameter.data.mean().cpu()
                info[parameter] = dict(init_info='a stock attention layer', tmp_mean_value=mean)

    def take_manifold_weights(
        self, stock: nn.Module, state_dict: dict, prefix: str, *unused: object
    ) -> None:
        """Pre-hook of ``load_state_dict``: weights of a manifold key go into the key."""
        start = prefix + self.qkv_prefix
        entries = {k[len(start) :]: v for k, v in state_dict.items() if k.startswith(start)}
        if 'qv.weight' not in entries:
            return
        self.manifold.load_state_dict(entries)
        self.loaded = True
        for name in entries:
            del state_dict[start + name]
        for name in (self.weight, self.bias):
            if getattr(self.stock, name) is not None:
                state_dict[prefix + name] = getattr(self.stock, name).detach()

    def hand_over(self) -> None:
        """Let the key start from what the stock layer holds."""
        if not self.loaded:
            bias = getattr(self.stock, self.bias)
            self.manifold.load_stock(
                getattr(self.stock, self.weight).detach(), None if bias is None else bias.detach()
            )


def require_registered(name: str | type) -> None:
    """Check that the current scope knows a backbone.

    Raises:
        ValueError: If it does not.
    """
    if not isinstance(name, str):
        return
    with MMENGINE_MODELS.switch_scope_and_registry(None) as registry:
        try:
            found = registry.get(name)
        except RuntimeError:  # newer mmengine; older ones return None
            found = None
    if found is None:
        scope = DefaultScope.get_current_instance()
        where = 'no default_scope is set' if scope is None else f"scope '{scope.scope_name}'"
        raise ValueError(
            f"backbone.type '{name}' is not registered ({where}); name another library's by its "
            f"scope, e.g. 'mmdet.SwinTransformer'{did_you_mean(name, registry.module_dict)}"
        )
