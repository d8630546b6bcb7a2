"""From a PyTorch module to a ``torch.export`` program, and from there to a file, ONNX or not.

One graph serves every batch, height and width: shapes stay symbolic through padding, windows and
resampled position embeddings. What is traced is the plain PyTorch path, in float32 on the CPU.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ..attention.inject import fold_manifold_keys
from ..exported_files import NOTES
from ..keys import ManifoldKey

__all__ = [
    'ExportError',
    'check_torch',
    'deployed',
    'require_packages',
    'save',
    'save_program',
    'trace',
]

#: Height and width of the traced images: no side is a multiple of a window, and every stage has
#: more than one window.
TRACED_SIZE = (251, 333)
OPSET = 18


class ExportError(ValueError):
    """A model that cannot be exported, or a file that does not compute what the model computes."""


def deployed(model: nn.Module) -> nn.Module:
    """A copy for deployment: linear keys folded, evaluation mode, float32, on the CPU."""
    model = copy.deepcopy(model).float().cpu().requires_grad_(False)
    fold_manifold_keys(model)
    for module in model.modules():
        if isinstance(module, ManifoldKey):
            keep_chart_map(module)
    model.eval()  # OpenMMLab's backbones return None
    return model


@torch.no_grad()
def keep_chart_map(key: ManifoldKey) -> None:
    """Let a key that is no longer trained have its charts as the one matrix that they are.

    A file would make it anew of their maps and Gamma for every picture, and ``--int8`` passes over
    products with what is no weight.
    """
    weight, bias = key.chart_map()
    key.register_buffer('deployed_weight', weight.clone())
    key.register_buffer('deployed_bias', bias.clone())
    replaced: Any = key
    replaced.chart_map = MethodType(deployed_chart_map, key)


def deployed_chart_map(key: Any) -> tuple[Tensor, Tensor]:
    """In the place of :meth:`ManifoldKey.chart_map`."""
    return key.deployed_weight, key.deployed_bias


def trace(
    model: nn.Module, inputs: tuple[Tensor, ...], free: Sequence[Sequence[int]]
) -> torch.export.ExportedProgram:
    """Trace a module with ``torch.export``.

    Args:
        model (nn.Module): From :func:`deployed`.
        inputs (tuple[Tensor, ...]): Examples of what it takes.
        free (Sequence[Sequence[int]]): The dimensions of each of them that may be of any length.

    Raises:
        ExportError: If torch is too old.
    """
    check_torch()
    from torch.fx.experimental import _config

    shapes = tuple(dict.fromkeys(dims, torch.export.Dim.DYNAMIC) or None for dims in free)
    # Without this, torch would make a batch or a window count of 1 a case of its own.
    with _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # added at run time
        return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)


def check_torch() -> None:
    """Raise ExportError if torch is too old."""
    from torch.fx.experimental import _config

    if not hasattr(_config, 'backed_size_oblivious'):
        raise ExportError(f'export needs torch 2.7 or later; this is {torch.__version__}')


def save(
    program: torch.export.ExportedProgram,
    path: Path,
    names: tuple[Sequence[str], Sequence[str], Sequence[str]],
    metadata: Mapping[str, str],
    translations: Mapping[Any, Any] | None = None,
) -> None:
    """Write a program as an ONNX file.

    Args:
        program (torch.export.ExportedProgram): From :func:`trace`.
        path (Path): The file.
        names (tuple[Sequence[str], ...]): Of inputs, of outputs, and of the sides of the first
            input.
        metadata (Mapping[str, str]): Notes to keep in the file.
        translations (Mapping, optional): ONNX for operators of our own.
    """
    with quiet():
        onnx_program: Any = torch.onnx.export(
            program,
            program.example_inputs[0] if program.example_inputs else (),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(names[0]),
            output_names=list(names[1]),
            custom_translation_table=dict(translations or {}),
            verbose=False,
        )
    name_sides(onnx_program.model.graph, names[2])
    onnx_program.model.metadata_props.update(metadata)
    onnx_program.save(path, external_data=False)


def save_program(
    program: torch.export.ExportedProgram, path: Path, notes: Mapping[str, Any]
) -> None:
    """Write a program as it is.

    Args:
        program (torch.export.ExportedProgram): From :func:`trace`.
        path (Path): The file.
        notes (Mapping[str, Any]): Notes to keep in the file, as JSON.
    """
    for module in program.graph_module.modules():
        for node in getattr(module, 'graph', torch.fx.Graph()).nodes:
            node.meta.pop('stack_trace', None)  # paths of this machine
    with open(path, 'wb') as file:
        torch.export.save(program, file, extra_files={NOTES: json.dumps(notes)})


def name_sides(graph: Any, names: Sequence[str]) -> None:
    """Give the free sides of a graph's first input a name, wherever they come back."""
    sides = (getattr(side, 'value', None) for side in graph.inputs[0].shape)
    found = {side: name for side, name in zip(sides, names) if isinstance(side, str)}
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    for value in values:
        if value.shape is None:
            continue
        texts = [getattr(side, 'value', side) for side in value.shape]
        named = [
            re.sub(r'\bs\d+\b', lambda symbol: found.get(symbol[0], symbol[0]), text)
            if isinstance(text, str)
            else text
            for text in texts
        ]
        if named != texts:
            value.shape = type(value.shape)(named)


def require_packages() -> None:
    """Check that what writes and runs ONNX is installed.

    Raises:
        ExportError: If it is not, or torch is too old.
    """
    check_torch()
    from importlib.util import find_spec

    missing = [name for name in ('onnx', 'onnxruntime', 'onnxscript') if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"{' and '.join(missing)} missing: pip install 'mkbackbones[export]', or "
            f'pip install {" ".join(missing)}'
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the converter's remarks on its optimisations to itself."""
    logger = logging.getLogger('onnxscript')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
