"""Layer-wise learning-rate decay for backbones that say how deep a parameter lies."""

from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ..arguments import is_number, short
from ..attention.qkv import ManifoldQKV
from ..hints import did_you_mean
from ..keys import BasedKey
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS

#: Entries of ``paramwise_cfg`` and what they are by default; None has to be given.
OPTIONS = dict(decay_rate=None, key_lr_mult=1.0, norm_decay_mult=1.0, bias_decay_mult=1.0)
#: Parameters and modules of a backbone without weight decay, whatever their shape.
NO_DECAY = {
    'bias',
    'gamma',
    'out_scale',
    'temperature',
    'pos_embed',
    'absolute_pos_embed',
    'cls_token',
    'dist_token',
    'mask_token',
    'reg_token',
    'relative_position_bias_table',
    'cpb_mlp',
    'logit_scale',
}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Smaller learning rates for the layers of the backbone that are nearer to the image.

    ``optim_wrapper=dict(constructor='mkbackbones.LayerDecayConstructor',
    paramwise_cfg=dict(decay_rate=0.8), ...)``. A parameter in layer i of n has the learning rate
    ``lr * decay_rate ** (n - 1 - i)``; the backbone says which layer it is in
    (``get_layer_depth``). What is not in the backbone has ``lr``. In the backbone, norms, biases,
    Gamma, output scales, layer scales, tokens, position embeddings and relative position bias
    tables get no weight decay. Frozen parameters are left out of the optimiser.

    Args:
        optim_wrapper_cfg (dict): The optimiser wrapper, with ``optimizer`` and its ``lr``.
        paramwise_cfg (dict): ``decay_rate`` (float): learning rate of a layer over that of the
            next, in (0, 1]. ``key_lr_mult`` (float): multiplies the learning rate of the charts,
            which unlike the rest have not been pretrained; the base chart and the decoupled linear
            key (LinearK) do not count as charts. Defaults to 1. ``norm_decay_mult``,
            ``bias_decay_mult`` (float): multiply the weight decay of norms and of other biases
            outside the backbone. Default to 1.

    Raises:
        ValueError: If an option is unknown, missing or out of range, ``lr`` is missing, or no part
            of the model has ``get_layer_depth``.
    """

    def _validate_cfg(self) -> None:
        cfg = self.paramwise_cfg
        for name in cfg:
            if name not in OPTIONS:
                raise ValueError(
                    f"paramwise_cfg entry '{name}' is unknown for LayerDecayConstructor; choose "
                    f'from {", ".join(OPTIONS)}{did_you_mean(name, OPTIONS)} (entries of a base '
                    'config go away with _delete_=True)'
                )
        self.options = {**OPTIONS, **cfg}
        rate = self.options['decay_rate']
        if rate is None:
            raise ValueError(
                'paramwise_cfg of LayerDecayConstructor needs decay_rate, e.g. '
                'paramwise_cfg=dict(decay_rate=0.8)'
            )
        if not (is_number(rate) and 0 < rate <= 1):
            raise ValueError(
                f'decay_rate={short(rate)} is not allowed; it must be in (0, 1], e.g. 0.8'
            )
        for name in ('key_lr_mult', 'norm_decay_mult', 'bias_decay_mult'):
            value = self.options[name]
            if not (is_number(value) and value >= 0):
                raise ValueError(f'{name}={short(value)} is not allowed; it must be at least 0')
        if self.base_lr is None:
            raise ValueError('LayerDecayConstructor needs the lr of the optimizer, e.g. lr=1e-4')
        for name in ('lr', 'weight_decay'):
            value = self.optimizer_cfg.get(name, 0)
            if not (is_number(value) and value >= 0):
                raise ValueError(
                    f'{name}={short(value)} of the optimizer is not allowed; it must be a number '
                    'of at least 0'
                )

    def add_params(  # type: ignore[override]  # whose prefix and so on it is not told
        self, params: list[dict], module: nn.Module, **unused: object
    ) -> None:
        """Add the parameter groups of a model: one for each learning rate and weight decay.

        Args:
            params (list[dict]): Groups, extended in place.
            module (nn.Module): The model.
        """
        groups: dict[tuple[float, float], dict] = {}
        charts = {id(parameter) for parameter in chart_parameters(module)}
        prefixes: dict[str, Any] = dict(backbone_prefixes(module))
        norms = {name for name, m in module.named_modules() if isinstance(m, NORMS)}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            prefix = max((p for p in prefixes if name.startswith(p)), key=len, default=None)
            if prefix is None:
                lr_mult = 1.0
                decay_mult = self.outside_decay(name, norms)
            else:
                layer, num_layers = prefixes[prefix].get_layer_depth(name, prefix)
                lr_mult = self.options['decay_rate'] ** (num_layers - 1 - layer)
                plain = not NO_DECAY.isdisjoint(name.split('.')) or parameter.ndim <= 1
                decay_mult = 0.0 if plain else 1.0
            if id(parameter) in charts:
                lr_mult *= self.options['key_lr_mult']
            group = groups.setdefault((lr_mult, decay_mult), {'params': []})
            group['params'].append(parameter)
        for (lr_mult, decay_mult), group in sorted(groups.items(), key=lambda item: item[0]):
            group['lr'] = self.base_lr * lr_mult
            if self.base_wd is not None:
                group['weight_decay'] = self.base_wd * decay_mult
            params.append(group)
            print_log(
                f'LayerDecayConstructor: {len(group["params"])} parameters with lr '
                f'{group["lr"]:.3g}, weight decay {group.get("weight_decay", 0):.3g}',
                logger='current',
            )

    def outside_decay(self, name: str, norms: set[str]) -> float:
        """Multiplier of the weight decay of a parameter outside the backbone."""
        module_name, _, kind = name.rpartition('.')
        if module_name in norms:
            return float(self.options['norm_decay_mult'])
        return float(self.options['bias_decay_mult']) if kind == 'bias' else 1.0


NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)


def backbone_prefixes(model: nn.Module) -> dict[str, nn.Module]:
    """The backbones of a model that have ``get_layer_depth``, by what their names start with.

    Raises:
        ValueError: If there is none.
    """
    found = {name: m for name, m in model.named_modules() if hasattr(m, 'get_layer_depth')}
    if len(found) > 1:
        found.pop('', None)  # a model that asks its backbone
    if not found:
        backbone = getattr(model, 'backbone', model)
        raise ValueError(
            f'LayerDecayConstructor needs a backbone with get_layer_depth(name, prefix), which '
            f'{type(backbone).__name__} has not; use mkbackbones.ManifoldSwin or ManifoldViT '
            '(key_cfg=None for the stock key), or the default constructor'
        )
    return {f'{name}.' if name else '': m for name, m in found.items()}


def chart_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters that a manifold key, or its MLP control, adds to the stock ones."""
    for module in model.modules():
        if isinstance(module, ManifoldQKV) and isinstance(module.key, BasedKey):
            for name, parameter in module.key.named_parameters():
                if not name.startswith('base.'):
                    yield parameter
