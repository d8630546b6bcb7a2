"""Example pictures where a candidate and the baseline differ most."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.palette import make_palette
from ..evidence import ClassificationEvidence
from ..records.results import StudyResults
from ..statistics.jackknife import load_task_evidence
from .blocks import Block, Fold, Gallery, Heading, Notice, Picture
from .choice import Choice, choose, most_of
from .drawing import Palette, draw_classified, draw_layers, to_jpeg
from .truth import Layer, TestImages, read_prediction

__all__ = ['examples']


def examples(results: StudyResults, task: str) -> list[Block]:
    """Pictures of one task, a part for each candidate; why there are none, where there are none.

    Args:
        results (StudyResults): The study.
        task (str): Key of the task.
    """
    info = results.info
    runs = [run for run in results.runs if run.task == task]
    evidence = load_task_evidence(runs) if runs else {}
    candidates = [arm for arm, about in info.arms.items() if about.role == 'candidate']
    scores = {
        key: found.per_image_score()
        for key, found in evidence.items()
        if key[0] in (info.baseline, *candidates)
    }
    folds = info.tasks[task].folds
    # Without folds, all seeds are of one.
    part_of = {s: info.fold_of(task, s) if folds else 0 for s in info.seeds}
    tests = {part_of[seed]: found for (_, seed), found in evidence.items()}
    chosen = {
        arm: most_of(
            [
                choice
                for part, test in tests.items()
                for choice in choose(
                    {key: score for key, score in scores.items() if part_of[key[1]] == part},
                    *(test, info.baseline, arm),
                )
            ]
        )
        for arm in candidates
    }
    chosen = {arm: choices for arm, choices in chosen.items() if choices}
    if not chosen:
        return []
    try:
        folders = {part_of[run.seed]: Path(run.folder) for run in runs}
        images = {
            part: TestImages(folder, info.tasks[task].kind) for part, folder in folders.items()
        }
    except Exception as error:  # a data set may raise anything
        reason = ' '.join(str(error).split())[:200]
        return [
            Heading(task, 3),
            Notice(f'No pictures: the test images cannot be read ({reason}).'),
        ]
    parts: list[Block] = [Heading(task, 3)]
    for arm, choices in chosen.items():
        pictures, missing = [], 0
        for number, choice in enumerate(choices):
            try:
                test = images[part_of[choice.seed]]
                picture = _picture(results, task, arm, choice, test, evidence)
                if picture is None:
                    continue
                picture.name += f'-{number}'
                pictures.append(picture)
            except (OSError, KeyError):
                missing += 1
        blocks: list[Block] = [Gallery(pictures)] if pictures else []
        if missing:
            blocks.append(
                Notice(
                    f'{missing} more chosen images are left out: the image or what a run '
                    'predicted for it is gone.'
                )
            )
        if not pictures and not missing:
            continue  # nothing to see
        label = f'{info.arms[arm].label} against {info.arms[info.baseline].label}'
        parts.append(Fold(label, blocks, open=len(chosen) == 1))
    return parts if len(parts) > 1 else []


def _picture(
    results: StudyResults,
    task: str,
    arm: str,
    choice: Choice,
    images: TestImages,
    evidence: Mapping[tuple[str, int], Any],
) -> Picture | None:
    """One picture; None where no difference between the arms can be seen in it."""
    info = results.info
    about = info.tasks[task]
    pixels, truth = images.read(choice.image)
    labels = {info.baseline: info.arms[info.baseline].label, arm: info.arms[arm].label}
    if about.kind == 'classification':
        lines = [('truth', choice.image.rpartition('/')[0])]
        for key, label in labels.items():
            lines.append((label, _said(evidence[key, choice.seed], choice.image, about.classes)))
        figure = draw_classified(pixels, lines)
    else:
        layers = {'ground truth': truth}
        for key, label in labels.items():
            folder = Path(results.of(task, key)[choice.seed].folder)
            layers[label] = read_prediction(folder, choice.image, about.kind)
        if _same(layers[labels[info.baseline]], layers[labels[arm]]):
            return None
        figure = draw_layers(pixels, layers, about.classes, _palette(images, about.classes))
    word = 'Better' if choice.difference > 0 else 'Worse'
    scores = ', '.join(
        f'{label} {score:.2f}'
        for label, score in zip(labels.values(), (choice.baseline, choice.arm))
    )
    return Picture(
        name=f'example-{task}-{arm}',
        content=to_jpeg(figure),
        alt=f'{choice.image}: ground truth and predictions',
        caption=f'{word}: {choice.image}, seed {choice.seed}. Score of the image: {scores}.',
    )


def _same(first: Layer, second: Layer) -> bool:
    """Whether two predictions look the same: neither has a box, or the same class map."""
    if first.classes is not None and second.classes is not None:
        return np.array_equal(first.classes, second.classes)
    return not any(layer.labels is not None and len(layer.labels) for layer in (first, second))


def _said(evidence: ClassificationEvidence, image: str, classes: list[str]) -> str:
    """What a classifier said of an image."""
    row = evidence.images.index(image)
    scores = evidence.scores[row]
    best = int(scores.argmax())
    return f'{classes[best]} ({scores[best]:.2f})'


def _palette(images: TestImages, classes: list[str]) -> Palette:
    """The data set's own colours, or made ones; a background is never drawn."""
    if images.palette and len(images.palette) >= len(classes):
        return [tuple(colour) for colour in images.palette]
    extra = classes[0] == 'background'
    return [(0, 0, 0)] * extra + make_palette(len(classes) - extra)
