"""What the backbones share: freezing, evaluation mode, loading, checks of their arguments."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mmengine.model import BaseModule
from torch import Tensor, nn

from ..arguments import (
    FLAG,
    INDICES,
    INIT_CFG,
    Rule,
    check,
    either,
    integer,
    is_int,
    listing,
    number,
    short,
)
from ..checkpoints.families import Family
from ..checkpoints.load import ReportedPretrained, is_pretrained, translate_state_dict
from ..compat.modes import is_compiling
from ..compat.modules import add_load_hook
from ..fused.decision import Decision, Plan
from ..hints import did_you_mean
from ..kernels.casts import HalfParameters
from ..keys.build import resolve_indices

#: Normalisation layers that behave differently in training and in evaluation, and ours.
NORMS = nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm


class Backbone(BaseModule):
    """Base of the backbones.

    State dicts of other libraries load as they are, see :mod:`mkbackbones.checkpoints`.

    Args:
        frozen_stages (int): -1 freezes nothing, 0 the stem, n the stem and the first n stages
            (Swin) or blocks (ViT). Frozen parts get no gradients and stay in evaluation mode.
        norm_eval (bool): Keep normalisation layers in evaluation mode while training.
        init_cfg (dict, optional): Initialisation, e.g. ``dict(type='Pretrained', checkpoint=...)``.
    """

    #: Whose weights the backbone takes, see :mod:`mkbackbones.checkpoints.families`.
    family: ClassVar[Family]
    #: Its architectures by name.
    archs: ClassVar[dict[str, dict]] = {}

    def __init__(
        self, frozen_stages: int = -1, norm_eval: bool = False, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.decision = Decision()
        self.halves = HalfParameters()
        add_load_hook(self, translate_state_dict)

    @staticmethod
    def stage_dims(arch: dict) -> tuple[int, ...]:
        """Channels of each stage of an architecture; a plain ViT is one stage."""
        return tuple(arch['embed_dims'] * 2**i for i in range(len(arch.get('depths', [0]))))

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says; ``Pretrained`` comes last and reports what it loads."""
        init_cfg = self.init_cfg
        cfgs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
        reported = [{**c, 'type': ReportedPretrained} for c in cfgs if is_pretrained(c)]
        self.init_cfg = [cfg for cfg in cfgs if not is_pretrained(cfg)] + reported
        super().init_weights()
        self.init_cfg = init_cfg

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract features.

        Args:
            x (Tensor): Images (B, 3, H, W), any size.

        Returns:
            tuple[Tensor, ...]: One map (B, C_i, ceil(H / s), ceil(W / s)) for each of
            ``out_indices``, at stride s: 4, 8, 16, 32 for the stages of a Swin, the patch size for
            a ViT.
        """
        require_image(x, type(self).__name__)
        plan = self.decision.plan(self, x)
        if plan is None or is_compiling():
            return self.extract(x, plan)
        with self.halves.ready(plan.dtype, x.device):
            return self.extract(x, plan)

    def extract(self, x: Tensor, plan: Plan | None) -> tuple[Tensor, ...]:
        """What :meth:`forward` does; ``plan`` says what of it runs on the Triton kernels."""
        raise NotImplementedError

    def frozen_modules(self) -> list[nn.Module]:
        """The modules that ``frozen_stages`` freezes."""
        raise NotImplementedError

    def frozen_parameters(self) -> list[nn.Parameter]:
        """Frozen parameters that lie in no module of their own."""
        return []

    def freeze(self) -> None:
        """Freeze what ``frozen_stages`` asks for."""
        for module in self.frozen_modules():
            module.eval().requires_grad_(False)
        for parameter in self.frozen_parameters():
            parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> 'Backbone':
        """Set the training mode; frozen parts, and norms with ``norm_eval``, stay in evaluation."""
        super().train(mode)
        if mode:
            self.freeze()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, NORMS):
                        module.eval()
        return self


#: What the arguments that all backbones have may be.
COMMON_RULES = dict(
    qkv_bias=FLAG,
    drop_path_rate=number(0, 1, below=True),
    with_cp=FLAG,
    norm_eval=FLAG,
    context_broadcasting=FLAG,
    init_cfg=INIT_CFG,
    out_indices=INDICES,
    mlp_ratio=number(0, 64, above=True),
)
#: What the entries of an explicit arch may be.
ARCH_RULES = dict(
    embed_dims=integer(1, 16384),
    depth=integer(1, 1024),
    depths=listing(integer(1, 1024)),
    num_heads=either(integer(1, 1024), listing(integer(1, 1024))),
)
#: What to do about arguments of other libraries' backbones.
ARCH_HINT = (
    "; sizes go into arch, e.g. arch='tiny', and entries of a base config's backbone go away with "
    '_delete_=True'
)


def resolve_arch(
    name: str,
    arch: str | dict,
    zoo: dict[str, dict],
    allowed: Sequence[str],
    rules: Mapping[str, Rule] | None = None,
) -> dict:
    """Look up an architecture by name, or check an explicit one.

    Args:
        name (str): Name of the backbone.
        arch (str | dict): A name in ``zoo``, or entries.
        zoo (dict[str, dict]): Its architectures.
        allowed (Sequence[str]): The entries that one has.
        rules (Mapping[str, Rule], optional): What entries may be that no other backbone has.

    Raises:
        ValueError: If the name or an entry is unknown, an entry is missing or not allowed.
    """
    if isinstance(arch, str):
        if arch not in zoo:
            raise ValueError(
                f"arch '{arch}' is unknown for {name}; choose from {', '.join(zoo)} or give a "
                f'dict with {", ".join(allowed)}{did_you_mean(arch, zoo)}'
            )
        return dict(zoo[arch])
    if not isinstance(arch, dict):
        raise ValueError(
            f'arch={short(arch)} is not allowed; it must be one of {", ".join(zoo)}, or a dict '
            f'with {", ".join(allowed)}'
        )
    if set(arch) != set(allowed):
        raise ValueError(
            f'arch of {name} has the entries {sorted(map(str, arch))}; it needs exactly '
            f'{sorted(allowed)}'
        )
    staged = 'depths' in allowed
    rules = {**ARCH_RULES, **(rules or {})}
    for entry in allowed:
        check(f'arch.{entry}', arch[entry], rules[entry])
    if isinstance(arch['num_heads'], int) == staged:
        check('arch.num_heads', arch['num_heads'], PER_STAGE if staged else integer(1, 1024))
    return dict(arch)


#: Heads of a backbone with stages.
PER_STAGE = listing(integer(1, 1024))


def require_hidden(embed_dims: int, mlp_ratio: float) -> None:
    """Check that the MLP of a block has hidden channels.

    Raises:
        ValueError: If it has none.
    """
    if int(embed_dims * mlp_ratio) < 1:
        raise ValueError(
            f'mlp_ratio={mlp_ratio} leaves no hidden channels of {embed_dims}; use e.g. 4'
        )


def require_heads(embed_dims: int, num_heads: int, where: str) -> None:
    """Check that heads divide channels.

    Raises:
        ValueError: If they do not.
    """
    if num_heads < 1 or embed_dims % num_heads:
        raise ValueError(
            f'num_heads={num_heads} does not divide the {embed_dims} channels of {where}; '
            f'the nearest that does is {nearest_divisor(embed_dims, num_heads)}'
        )


def nearest_divisor(number: int, wanted: int) -> int:
    """The divisor of ``number`` nearest to ``wanted``."""
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    return min(divisors, key=lambda d: abs(d - wanted))


def require_out_indices(out_indices: int | Sequence[int], length: int) -> tuple[int, ...]:
    """Normalise ``out_indices``: sorted, unique, negative ones counted from the end.

    Raises:
        ValueError: If one does not exist, is given twice, or they are not in order.
    """
    resolved = resolve_indices('out_indices', out_indices, length)
    if resolved != sorted(resolved):
        raise ValueError(
            f'out_indices={out_indices} is not in order; use {tuple(sorted(resolved))}'
        )
    return tuple(resolved)


def require_frozen_stages(frozen_stages: int, length: int) -> int:
    """Check ``frozen_stages``.

    Raises:
        ValueError: If it is not between -1 and the number of stages.
    """
    if not is_int(frozen_stages) or not -1 <= frozen_stages <= length:
        raise ValueError(
            f'frozen_stages={short(frozen_stages)} is out of range; choose from -1 (nothing) to '
            f'{length}'
        )
    return frozen_stages


def require_image(x: Tensor, name: str) -> None:
    """Check that an input is a batch of images of at least one pixel.

    Raises:
        ValueError: If it has no batch axis, a side is zero or the channels are not three.
    """
    wanted = f'{name} takes images (B, 3, H, W) with H and W of at least 1'
    if x.dim() != 4:
        batch = '; a single image becomes a batch with image[None]' if x.dim() == 3 else ''
        raise ValueError(f'{wanted}; got a tensor of {x.dim()} axes{batch}')
    channels, height, width = x.shape[1:]
    if channels != 3 or not height or not width:
        raise ValueError(f'{wanted}; got {channels} channels of {height}x{width}')


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Stochastic depth rates that rise linearly over the blocks."""
    return [rate * i / max(depth - 1, 1) for i in range(depth)]


def init_linear(module: nn.Module) -> None:
    """Initialise Linears as the Swin and ViT papers do: truncated normal 0.02, zero bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
