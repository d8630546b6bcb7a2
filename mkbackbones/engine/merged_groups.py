"""MergedGroupsConstructor: mmengine's parameter groups, those that are alike as one."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MergedGroupsConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default constructor, but one parameter group for each setting.

    With a ``paramwise_cfg`` the default makes a group of each parameter, some 200 for Swin-T, and
    PyTorch's optimisers update group by group: a third of a train step of UPerNet is spent in
    AdamW then (docs/performance.md). Parameters of equal ``lr``, ``weight_decay`` and other
    settings are put into one group here, in the order of the model; what is learnt is the same.
    ``optim_wrapper=dict(constructor='mkbackbones.MergedGroupsConstructor', ...)``. A training that
    was begun with another constructor cannot be resumed with this one, since optimisers keep their
    state by group.

    Args:
        optim_wrapper_cfg (dict): As of ``DefaultOptimWrapperConstructor``.
        paramwise_cfg (dict, optional): As of ``DefaultOptimWrapperConstructor``.
    """

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', *args: Any, **kwargs: Any
    ) -> None:
        """Add the parameter groups of a module, merged once all of the model are there.

        Args:
            params (list[dict]): Groups, changed in place.
            module (nn.Module): The module.
            prefix (str): Its name within the model; empty for the model itself.
            *args: As of ``DefaultOptimWrapperConstructor.add_params``.
            **kwargs: As of ``DefaultOptimWrapperConstructor.add_params``.
        """
        super().add_params(params, module, prefix, *args, **kwargs)
        if not prefix:
            params[:] = merge_groups(params)


def merge_groups(groups: list[dict]) -> list[dict]:
    """Groups with equal settings as one, in the order in which a setting comes first."""
    merged: list[tuple[dict, dict]] = []
    for group in groups:
        settings = {name: value for name, value in group.items() if name != 'params'}
        for known, into in merged:
            if known == settings:
                into['params'].extend(group['params'])
                break
        else:
            merged.append((settings, dict(settings, params=list(group['params']))))
    return [group for _, group in merged]
