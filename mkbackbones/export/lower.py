"""Files in lower precision: backbone and neck in float16, or in int8.

Heads stay in float32, as in training: float16 moves the corners of boxes. What a lower precision
costs is measured, not bounded, so such a file is compared by its metric alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from .program import ExportError

__all__ = ['halve', 'quantise']

PARTS = ('model.backbone', 'model.neck')
#: What is quantised: operators with weights.
KINDS = ('Conv', 'MatMul', 'Gemm')


class HalfPart(nn.Module):
    """A part of a network in float16, from float32 to float32.

    Args:
        part (nn.Module): A backbone or neck.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part.half()

    def forward(self, inputs: Any) -> tuple[torch.Tensor, ...]:
        is_one = isinstance(inputs, torch.Tensor)
        maps = self.part(inputs.half() if is_one else tuple(one.half() for one in inputs))
        return tuple(one.float() for one in maps)


def halve(model: Any) -> None:
    """Put backbone and neck of a model in float16, in place."""
    model.backbone = HalfPart(model.backbone)
    if getattr(model, 'neck', None) is not None:
        model.neck = HalfPart(model.neck)


def quantise(path: Path, out: Path, batches: Sequence[dict[str, np.ndarray]]) -> int:
    """Write a file whose backbone and neck multiply in int8.

    Weights have a scale a channel, activations one a tensor, from the range that they take on the
    pictures (onnxruntime's ``quantize_static``).

    Args:
        path (Path): The file in float32.
        out (Path): The file to write.
        batches (Sequence[dict[str, ndarray]]): Inputs of the file to calibrate with.

    Returns:
        int: How many operators are quantised.

    Raises:
        ExportError: There is nothing to quantise.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        """One batch after the other."""

        def __init__(self) -> None:
            self.rest: Iterator[dict[str, np.ndarray]] = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rest, None)

    names = with_weights(path)
    if not names:
        raise ExportError('--int8: the backbone and the neck have no convolution or product')
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it recommends a step that symbolic sizes do not survive
    try:
        quantize_static(
            str(path),
            str(out),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(KINDS),
            nodes_to_quantize=names,
            per_channel=True,
        )
    finally:
        logging.root.setLevel(level)
    keep_notes(path, out)
    return len(names)


def keep_notes(path: Path, out: Path) -> None:
    """Give a quantised file the notes of the other one, without those of the quantiser."""
    model = onnx.load(str(out))
    notes = {p.key: p.value for p in onnx.load(str(path), load_external_data=False).metadata_props}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**notes, 'precision': json.dumps('int8')})
    onnx.save(model, str(out))


def with_weights(path: Path) -> list[str]:
    """Names of operators of backbone and neck that multiply by weights."""
    graph = onnx.load(str(path)).graph
    weights = {one.name for one in graph.initializer}
    found = []
    for node in graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key.endswith('name_scopes')), '')
        if (
            node.op_type in KINDS
            and node.input[1] in weights
            and any(f"'{part}'" in scopes for part in PARTS)
        ):
            found.append(node.name)
    return found
