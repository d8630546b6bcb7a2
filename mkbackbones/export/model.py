"""Whole models as one file: uint8 pictures to class maps, or to boxes, labels and masks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..exported_files import is_program
from ..files import written_aside
from ..predict import PictureError, Predictor
from ..predict.preparation import test_dataset
from ..version import __version__
from .check import Agreement, check_file
from .operators import translations
from .preparation import Preparation, read_pipeline
from .program import (
    TRACED_SIZE,
    ExportError,
    check_torch,
    deployed,
    require_packages,
    save,
    save_program,
    trace,
)
from .run import ExportedModel, SavedProgram
from .stand_ins import put_stand_ins

__all__ = ['Whole', 'export_model', 'whole_model', 'write_model']

INPUTS = ('images', 'size')
#: Of the images.
SIDES = ('batch', 'height', 'width')
#: Sizes of pictures of noise, which go along with the others: odd, and a batch.
NOISE = ((201, 333), (201, 333), (300, 160))
HOW = (
    'images: (B, H, W, 3) uint8 BGR, resized by OpenCV (INTER_LINEAR) as "resize" says: with '
    'keep_ratio so that the longer side is at most the larger number of scale and the shorter one '
    'at most the smaller, else to width and height; null: as they are. '
    'size: (2,) int64, height and width before that, in which everything comes out. '
    'Normalisation, padding and suppression are in the file. '
    'alarm_above, if given: a picture with a higher score raises an alarm; with '
    'alarm_above_by_class one whose class_scores are above that of any class, instead.'
)


@dataclass
class Whole:
    """A model that is ready to be traced.

    Args:
        module (nn.Module): Of pictures (B, H, W, 3) and a size (2,); its ``outputs`` are named.
        notes (dict[str, Any]): What whoever runs the file has to know.
        least_score (float): Below it the model keeps no boxes.
    """

    module: Any
    notes: dict[str, Any]
    least_score: float = 0.0


def whole_model(predictor: Predictor, half: bool = False) -> Whole:
    """What is written of a model, ready to be traced.

    Args:
        predictor (Predictor): The model with its weights.
        half (bool): Backbone and neck in float16.

    Raises:
        ExportError: It is of a kind that cannot be written.
    """
    resize, padding = read_pipeline(test_dataset(predictor.cfg)['pipeline'])
    model: Any = deployed(predictor.model)
    put_stand_ins(model)
    if half:
        from .lower import halve  # with it comes onnx

        halve(model)
    preparation = Preparation(model.data_preprocessor, **padding)
    module = ready(model, preparation, predictor)
    notes = dict(
        kind=predictor.kind,
        classes=list(predictor.classes),
        resize=resize,
        how=HOW,
        version=__version__,
    )
    return Whole(module.eval(), notes, getattr(module, 'least_score', 0.0))


def ready(model: Any, preparation: Preparation, predictor: Predictor) -> nn.Module:
    """The graph of a kind of model."""
    if predictor.kind == 'segmentation':
        from .segmentors import Segmentor

        return Segmentor(model, preparation, predictor.classes)
    from mmdet.models.detectors import (
        DINO,
        CascadeRCNN,
        FasterRCNN,
        MaskRCNN,
        SingleStageDetector,
    )

    if type(model) in (FasterRCNN, MaskRCNN, CascadeRCNN):
        from .two_stage import TwoStageDetector

        return TwoStageDetector(model, preparation)
    if type(model) is DINO:
        from .dino import DinoDetector

        return DinoDetector(model, preparation)
    if isinstance(model, SingleStageDetector):
        from .dense import DenseDetector

        return DenseDetector(model, preparation)
    raise ExportError(
        f'{type(model).__name__} is not exported as a whole; one-stage detectors, Faster, Mask and '
        'Cascade R-CNN and DINO are; take --part neck'
    )


def export_model(
    predictor: Predictor,
    path: Path,
    pictures: Sequence[Path] = (),
    notes: Mapping[str, Any] | None = None,
) -> Agreement:
    """Write a whole model as one file; it appears only if it finds what the model finds.

    Args:
        predictor (Predictor): The model with its weights, on the CPU.
        path (Path): The file to write or replace: ONNX, or a ``torch.export`` program if its name
            ends so (:mod:`mkbackbones.exported_files`).
        pictures (Sequence[Path]): What to compare file and model on; some noise goes along.
        notes (Mapping[str, Any], optional): More to keep in the file, as JSON.

    Raises:
        ExportError: Packages are missing, the model is of a kind that cannot be written, or the
            file finds something else.
        PictureError: None of the pictures can be used; single ones are left out and told.
    """
    as_program = is_program(path)
    if as_program:
        check_torch()
    else:
        require_packages()
    whole = whole_model(predictor)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in NOISE]
    outcomes = list(predictor.outcomes([*pictures, *noise]))
    faults = [outcome.fault for outcome in outcomes if outcome.fault]
    if faults and len(faults) == len(pictures):
        raise PictureError(f'none of the {len(faults)} pictures can be compared: {faults[0]}')
    with written_aside(path) as work:
        write_model(whole, work, notes or {}, as_program)
        usable = [outcome for outcome in outcomes if not outcome.fault]
        exported = SavedProgram(work) if as_program else ExportedModel(work)
        agreement = check_file(exported, usable, whole.least_score)
    agreement.left_out = faults
    return agreement


def write_model(
    whole: Whole, path: Path, notes: Mapping[str, Any], is_program: bool = False
) -> None:
    """Trace a model and write it, unchecked.

    Args:
        whole (Whole): The model.
        path (Path): The file.
        notes (Mapping[str, Any]): More to keep in the file, as JSON.
        is_program (bool): Write the program itself, with the names of its outputs among the notes;
            else an ONNX file, which has them.
    """
    inputs = (
        torch.zeros(2, *TRACED_SIZE, 3, dtype=torch.uint8),
        torch.tensor([side - 17 for side in TRACED_SIZE]),
    )
    with torch.no_grad():
        program = trace(whole.module, inputs, [(0, 1, 2), ()])
    notes = {**whole.notes, **notes}
    if is_program:
        save_program(program, path, dict(notes, outputs=list(whole.module.outputs)))
        return
    texts = {k: json.dumps(v) for k, v in notes.items()}
    save(program, path, (INPUTS, whole.module.outputs, SIDES), texts, translations())
