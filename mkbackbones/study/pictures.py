"""Pictures for reports: predictions beside ground truth, loss curves."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from mmengine.structures import BaseDataElement
from PIL import Image

#: Colours of arms, in order; distinguishable by colour-blind readers.
ARM_COLOURS = ('#4d4d4d', '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00')


def read_image(path: str) -> np.ndarray:
    """Read an image as RGB (H, W, 3), uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


def comparison(
    columns: dict[str, Sequence], metainfo: dict, score_threshold: float = 0.3
) -> Figure:
    """Ground truth and the predictions of several arms, one row an image.

    Args:
        columns (dict[str, Sequence]): Arm name -> data samples of the same images.
        metainfo (dict): ``classes`` and ``palette`` of the data set.
        score_threshold (float): Boxes below this score are left out.

    Returns:
        Figure: The picture.
    """
    rows = next(iter(columns.values()))
    names = ['ground truth', *columns]
    figure = Figure(figsize=(2.6 * len(names), 2.6 * len(rows) + 0.4), layout='constrained')
    axes = figure.subplots(len(rows), len(names), squeeze=False)
    for row, sample in enumerate(rows):
        image = read_image(sample.metainfo['img_path'])
        drawn = [(sample, True), *((samples[row], False) for samples in columns.values())]
        for axis, (item, is_truth), name in zip(axes[row], drawn, names):
            axis.imshow(image)
            axis.set_axis_off()
            if row == 0:
                axis.set_title(name, fontsize=10)
            if 'gt_sem_seg' in item:
                draw_map(axis, item, is_truth, metainfo)
            else:
                draw_boxes(axis, item, is_truth, metainfo, score_threshold)
    if 'gt_sem_seg' in rows[0]:
        handles = [
            Patch(color=np.array(colour) / 255, label=name)
            for name, colour in list(zip(metainfo['classes'], metainfo['palette']))[1:]
        ]
        figure.legend(handles=handles, loc='outside lower center', ncols=len(handles), fontsize=8)
    return figure


def draw_map(axis: Axes, sample: BaseDataElement, is_truth: bool, metainfo: dict) -> None:
    """Lay a label map over the image; the background (0) stays clear."""
    labels = (sample.gt_sem_seg if is_truth else sample.pred_sem_seg).data.squeeze(0).numpy()
    palette = np.array(metainfo['palette'], dtype=np.uint8)
    known = labels < len(palette)
    overlay = np.zeros((*labels.shape, 4), dtype=np.uint8)
    overlay[..., :3] = palette[np.where(known, labels, 0)]
    overlay[..., 3] = np.where(known & (labels > 0), 150, 0)
    axis.imshow(overlay, interpolation='nearest')


def draw_boxes(
    axis: Axes, sample: BaseDataElement, is_truth: bool, metainfo: dict, score_threshold: float
) -> None:
    """Draw boxes with their class, and predicted ones with their score."""
    instances = sample.gt_instances if is_truth else sample.pred_instances
    boxes = np.asarray(getattr(instances.bboxes, 'tensor', instances.bboxes))
    if is_truth:  # predictions are in the image's own pixels, ground truth in the resized ones
        boxes = boxes / np.tile(sample.metainfo.get('scale_factor', (1.0, 1.0)), 2)
    scores = np.ones(len(boxes)) if is_truth else np.asarray(instances.scores)
    for box, label, score in zip(boxes, np.asarray(instances.labels), scores):
        if score < score_threshold:
            continue
        colour = np.array(metainfo['palette'][label]) / 255
        x1, y1, x2, y2 = box
        axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, lw=1.4))
        text = metainfo['classes'][label] + ('' if is_truth else f' {score:.2f}')
        axis.text(x1, max(y1 - 2, 4), text, fontsize=6, color='white').set_bbox(
            dict(facecolor=colour, edgecolor='none', pad=0.8, alpha=0.85)
        )


def loss_curves(losses: dict[str, dict[str, Sequence[float]]]) -> Figure:
    """Training loss over iterations, one panel a task, one line an arm.

    Args:
        losses (dict): Task -> arm -> loss of each iteration.

    Returns:
        Figure: The picture.
    """
    figure = Figure(figsize=(4.6 * len(losses), 3.0), layout='constrained')
    for axis, (task, arms) in zip(
        figure.subplots(1, len(losses), squeeze=False)[0], losses.items()
    ):
        for colour, (arm, values) in zip(ARM_COLOURS, arms.items()):
            smooth = moving_mean(values, max(len(values) // 40, 1))
            axis.plot(range(1, len(values) + 1), values, color=colour, alpha=0.18, lw=0.8)
            axis.plot(range(1, len(values) + 1), smooth, color=colour, lw=1.6, label=arm)
        axis.set(title=task, xlabel='iteration', ylabel='training loss')
        axis.set_ylim(bottom=0)
        axis.spines[['top', 'right']].set_visible(False)
        axis.legend(frameon=False)
    return figure


def moving_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of the last ``window`` values at each place."""
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return list((sums[ends] - sums[starts]) / (ends - starts))


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """Render a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=dpi)
    return buffer.getvalue()
