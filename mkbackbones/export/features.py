"""Backbones, and backbones with their necks, as ``torch.export`` programs and ONNX files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..checkpoints.report import CheckpointError
from ..checkpoints.source import load_file, unwrap
from ..files import written_aside
from .program import TRACED_SIZE, ExportError, deployed, require_packages, save, trace

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['Features', 'build_features', 'export_onnx', 'export_program', 'load_weights']

TRACED = (2, 3, *TRACED_SIZE)
#: Batches on which a file is compared with the model: as traced, on the window grid, odd, small.
CHECKED = (TRACED, (1, 3, 224, 224), (1, 3, 161, 230), (3, 3, 33, 65))
TOLERANCE = 1e-3


class Features(nn.Module):
    """A backbone, or a backbone and its neck: images (B, 3, H, W) to a tuple of NCHW maps.

    Args:
        backbone (nn.Module): The backbone.
        neck (nn.Module, optional): What follows it.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.backbone(images)
        return tuple(maps if self.neck is None else self.neck(maps))


def build_features(cfg: Config, with_neck: bool = True) -> Features:
    """Build backbone and neck of a config, without weights.

    Args:
        cfg (Config): Its model has a backbone.
        with_neck (bool): Build the neck too, where there is one.
    """
    from mmengine.registry import MODELS, init_default_scope

    from .. import backbones, necks  # noqa: F401 - registers them

    neck = cfg.model.get('neck') if with_neck else None
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    backbone = cfg.model.backbone.copy()
    backbone.pop('init_cfg', None)  # the checkpoint has the weights
    model = MODELS.build(backbone)
    if neck is None:
        return Features(model)
    cfgs = neck if isinstance(neck, (list, tuple)) else [neck]
    return Features(model, sequence([MODELS.build(c) for c in cfgs]))


def sequence(modules: list[nn.Module]) -> nn.Module:
    """One module of several; names in checkpoints are those of ``nn.Sequential``."""
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def load_weights(model: nn.Module, checkpoint: str, trusted: bool) -> None:
    """Load what a trained model has for backbone and neck.

    Raises:
        CheckpointError: If something of them is missing or of another shape.
        FileNotFoundError: If the file does not exist.
    """
    state = unwrap(load_file(checkpoint, trusted), checkpoint)
    state = {n: v for n, v in state.items() if n.startswith(('backbone.', 'neck.'))}
    if not state:
        raise CheckpointError(
            f'{checkpoint} has no entries that start with backbone.; give the checkpoint of a '
            'trained detector or segmentor'
        )
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise CheckpointError(f'{checkpoint} does not fit the config: {reason}') from error
    if missing:
        raise CheckpointError(
            f'{checkpoint} does not fit the config: {len(missing)} entries are missing, e.g. '
            f'{missing[0]}'
        )


def export_program(model: nn.Module) -> torch.export.ExportedProgram:
    """Trace a model with ``torch.export`` for every batch size, height and width.

    Args:
        model (nn.Module): Takes images (B, 3, H, W), e.g. a backbone or :class:`Features`. It is
            traced as :func:`deployed`.

    Returns:
        torch.export.ExportedProgram: The program. Its ``module(check_guards=False)`` takes every
        image; with guards, torch refuses single windows and single images where it relied on their
        strides while tracing, though the results are right.

    Raises:
        ExportError: If torch is too old.
    """
    return trace(deployed(model), (torch.zeros(TRACED),), [(0, 2, 3)])


def export_onnx(
    model: nn.Module, path: Path, metadata: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Write an ONNX file; it appears only if onnxruntime computes from it what the model does.

    The input is ``images`` (B, 3, H, W), normalised, any size; the outputs are ``map0``, ``map1``,
    and so on, fine to coarse.

    Args:
        model (nn.Module): As in :func:`export_program`.
        path (Path): The file to write or replace.
        metadata (Mapping[str, str], optional): Notes to keep in the file.

    Returns:
        dict[str, float]: Largest difference from the model for each size that was compared,
        relative to the largest value where that exceeds 1.

    Raises:
        ExportError: If onnx, onnxruntime or onnxscript is missing, torch is too old, or an output
            differs by more than 1e-3.
    """
    require_packages()
    program = export_program(model)
    names = [f'map{i}' for i in range(len(program.graph_signature.user_outputs))]
    with written_aside(path) as work:
        sides = 'batch', 'channels', 'height', 'width'
        save(program, work, (['images'], names, sides), metadata or {})
        return compare(deployed(model), work)


def compare(model: nn.Module, path: Path, sizes: Sequence[tuple] = CHECKED) -> dict[str, float]:
    """Compare a file in onnxruntime with the model.

    Args:
        model (nn.Module): The model, ready for inference.
        path (Path): The ONNX file.
        sizes (Sequence[tuple]): Batches (B, 3, H, W).

    Raises:
        ExportError: If an output differs by more than 1e-3 or has another shape.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    generator = torch.Generator().manual_seed(0)
    differences = {}
    for size in sizes:
        images = torch.randn(size, generator=generator)
        with torch.no_grad():
            wanted = model(images)
        found = [torch.from_numpy(m) for m in session.run(None, {'images': images.numpy()})]
        name = '{}x{}x{}'.format(size[0], *size[2:])
        shapes = [tuple(m.shape) for m in found], [tuple(m.shape) for m in wanted]
        if shapes[0] != shapes[1]:
            raise ExportError(f'at {name} the file gives maps of {shapes[0]}, not {shapes[1]}')
        scaled = [(f - w).abs().max() / w.abs().max().clamp(min=1) for f, w in zip(found, wanted)]
        differences[name] = max(float(difference) for difference in scaled)
        if not differences[name] <= TOLERANCE:
            raise ExportError(
                f'at {name} the file differs from the model by {differences[name]:.1e}, more than '
                f'{TOLERANCE:.0e}; nothing was written'
            )
    return differences
