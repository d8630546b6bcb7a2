"""Mixed precision of a training, as its config names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['set_up_amp']

BFLOAT16 = 'mkbackbones.BFloat16OptimWrapper'


def set_up_amp(cfg: Config, wanted: bool) -> None:
    """Switch mixed precision on if ``wanted``, and make a config that has it run on a CPU.

    bfloat16 is the default because Swin's activations overflow float16.

    Raises:
        InputError: for an optimiser wrapper that has no mixed precision form.
    """
    from mmengine.device import get_device

    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if wanted and kind == 'OptimWrapper':
        kind = 'AmpOptimWrapper' if wrapper.get('dtype') == 'float16' else BFLOAT16
    elif wanted and kind not in ('AmpOptimWrapper', BFLOAT16):
        raise InputError(f"--amp works with optim_wrapper.type='OptimWrapper', not {kind!r}")
    if kind == 'AmpOptimWrapper' and get_device() == 'cpu':
        kind = BFLOAT16  # mmengine's own refuses CPUs, which have no float16 autocast anyway
    if kind == BFLOAT16:
        wrapper.pop('dtype', None)
        wrapper.pop('loss_scale', None)
    wrapper.type = kind
