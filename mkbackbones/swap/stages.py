"""Which stage of the new backbone takes the place of which output of the old one."""

from __future__ import annotations

from mmengine.config import ConfigDict

from .consumers import Reader
from .features import Features, SwapError


def matching_stages(
    old_cfg: ConfigDict, old: Features, new: Features, readers: list[Reader], where: str
) -> dict[int, int]:
    """Stages of a hierarchical backbone for the outputs of the old one that something reads.

    Swin normalises each output with parameters of its own: without a reader they would get no
    gradient, which distributed training rejects. So outputs that nobody reads get no stage.

    Args:
        old_cfg (ConfigDict): Config of the old backbone.
        old (Features): What it gives.
        new (Features): What all stages of the new backbone give.
        readers (list[Reader]): What reads the maps.
        where (str): Place of the model.

    Returns:
        dict[int, int]: Position of an old output to stage.

    Raises:
        SwapError: There are not enough stages, or the outputs are not stages and their readers do
            not tell which stages they want.
    """
    used = sorted({i for reader in readers for i in reader.positions})
    if not old.follow_stages:
        return stages_by_role(old_cfg, old, len(new.channels), readers, where)
    wanted = old_cfg.get('out_indices')
    wanted = (wanted,) if isinstance(wanted, int) else wanted
    named = wanted is not None and len(wanted) == len(old.channels)  # some add the image itself
    staged = old.is_pyramid or len(old.channels) == 1
    if staged and named and min(wanted) >= 0 and max(wanted) < len(new.channels):
        return {i: wanted[i] for i in used}
    strides = [old.strides[i] for i in used]
    if old.is_pyramid and len(set(strides)) == len(strides) and set(strides) <= set(new.strides):
        return {i: new.strides.index(old.strides[i]) for i in used}
    first = len(new.channels) - len(old.channels)
    if first + used[0] < 0:
        raise SwapError(
            f'the old backbone has {len(old.channels)} outputs, the new one '
            f'{len(new.channels)} stages'
        )
    return {i: first + i for i in used}


def stages_by_role(
    old_cfg: ConfigDict, old: Features, num_stages: int, readers: list[Reader], where: str
) -> dict[int, int]:
    """Stages for outputs that come from branches or a decoder (BiSeNet, U-Net, STDC).

    As mmseg has it for ResNets and Swin: the main head reads the last stage, auxiliary heads the
    one before.

    Raises:
        SwapError: A part reads several outputs, or it is neither kind of head.
    """
    stages: dict[int, int] = {}
    kinds = {f'{where}.decode_head': num_stages - 1, f'{where}.auxiliary_head': num_stages - 2}
    for place, stage in kinds.items():
        for reader in readers:
            if reader.place.startswith(place) and len(reader.positions) == 1:
                stages.setdefault(reader.positions[0], stage)
    strange = [r for r in readers if not all(i in stages for i in r.positions) or r.is_neck]
    if strange:
        raise SwapError(
            f'the outputs of the old backbone {old_cfg.get("type")} (strides {old.strides}, '
            f'channels {old.channels}) are not stages one after another, and {strange[0].place} '
            f'({strange[0].part.get("type")}) reads {len(strange[0].positions)} of them; start '
            'from a config of another backbone'
        )
    return stages
