"""Test images with their ground truth, as the config of a run reads them; and predictions."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..records.run_folder import read_object

if TYPE_CHECKING:
    from ..define.tasks import TaskKind

__all__ = ['Layer', 'TestImages', 'read_image', 'read_prediction']


@dataclass
class Layer:
    """What is known or predicted of one image.

    Args:
        boxes (ndarray | None): (n, 4) as x1, y1, x2, y2 in pixels.
        labels (ndarray | None): Class of each box, (n,).
        masks (list[ndarray] | None): Mask of each box, (H, W) bool.
        classes (ndarray | None): Class of each pixel, (H, W).
    """

    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    masks: list[np.ndarray] | None = None
    classes: np.ndarray | None = None

    def present(self, has_background: bool) -> set[int]:
        """Classes that are drawn."""
        found = set() if self.labels is None else set(self.labels.tolist())
        if self.classes is not None:
            found |= set(np.unique(self.classes).tolist()) - ({0} if has_background else set())
        return found


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as RGB, (H, W, 3) uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


#: Modules whose data sets are known, by scope. A config that somebody else wrote may name anything
#: that can be imported; what is built here is one of these, with settings that are data.
KNOWN = {
    'mkbackbones': ('mkbackbones.classification', 'mkbackbones.datasets.openmmlab'),
    'mmdet': ('mmdet.datasets',),
    'mmseg': ('mmseg.datasets',),
}
SETTINGS = (
    *('data_root', 'ann_file', 'data_prefix', 'split', 'metainfo', 'img_suffix'),
    *('seg_map_suffix', 'reduce_zero_label', 'ignore_index'),
)


def read_config(folder: Path) -> dict:
    """The config of a run, as data.

    Raises:
        ValueError: It is missing or damaged.
    """
    config = read_object(folder / 'config.json')
    if config is None:
        raise ValueError(f'{folder / "config.json"} is missing or damaged')
    return config


def build_known(config: dict) -> Any:
    """The test split of a config, if it is a data set of a known library.

    Raises:
        ValueError: It is not.
    """
    dataset = config['test_dataloader']['dataset']
    kind = str(dataset.get('type'))
    scope, _, name = kind.rpartition('.')
    scope = scope or str(config.get('default_scope'))
    if scope in KNOWN:
        for module in KNOWN[scope]:
            importlib.import_module(module)
        registry = importlib.import_module(f'{scope}.registry').DATASETS
        cls = registry.module_dict.get(name)
        if cls is not None:
            return cls(**{key: dataset[key] for key in SETTINGS if key in dataset})
    raise ValueError(f'the data set {kind} is not one of {", ".join(KNOWN)}')


class TestImages:
    """The test split of a task.

    Args:
        folder (Path): Folder of one of its runs, with ``config.json``.
        kind (str): Kind of the task.

    Raises:
        Exception: Whatever the data set of the config raises, e.g. where the data are gone.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(self, folder: Path, kind: TaskKind) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # libraries print while they read
            self.data = build_known(read_config(folder))
        if kind == 'classification':
            files = [Path(path) for path, _ in self.data.samples]
            self.index = {f'{path.parent.name}/{path.stem}': i for i, path in enumerate(files)}
        else:
            paths = (self.data.get_data_info(i)['img_path'] for i in range(len(self.data)))
            self.index = {Path(path).stem: i for i, path in enumerate(paths)}
        self.kind = kind
        palette = (self.data.metainfo or {}).get('palette')
        self.palette = palette if isinstance(palette, (list, tuple)) else None

    def read(self, image: str) -> tuple[np.ndarray, Layer]:
        """Pixels and ground truth of an image, by its name in the evidence."""
        if self.kind == 'classification':
            return read_image(self.data.samples[self.index[image]][0]), Layer()
        about = self.data.get_data_info(self.index[Path(image).stem])
        pixels = read_image(about['img_path'])
        if self.kind == 'segmentation':
            return pixels, Layer(classes=_class_map(about))
        objects = [item for item in about['instances'] if not item.get('ignore_flag')]
        masks = None
        if self.kind == 'instance-segmentation':
            masks = [_decode(item['mask'], pixels.shape[:2]) for item in objects]
        return pixels, Layer(
            boxes=np.array([item['bbox'] for item in objects], dtype=float).reshape(-1, 4),
            labels=np.array([item['bbox_label'] for item in objects], dtype=int),
            masks=masks,
        )


def read_prediction(folder: Path, image: str, kind: TaskKind) -> Layer:
    """What a run predicted for an image.

    Args:
        folder (Path): The run's folder.
        image (str): Name of the image in the evidence.
        kind (str): Kind of the task.

    Raises:
        OSError: The run left no prediction of it.
    """
    path = folder / 'predictions' / Path(image).stem
    if kind == 'classification':
        return Layer()
    if kind == 'segmentation':
        with Image.open(f'{path}.png') as file:
            return Layer(classes=np.asarray(file))
    found = json.loads(Path(f'{path}.json').read_text(encoding='utf-8'))
    boxes = np.array([item['bbox'] for item in found], dtype=float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = None
    if kind == 'instance-segmentation':
        masks = [_decode(item['segmentation'], (0, 0)) for item in found]
    return Layer(boxes, np.array([item['label'] for item in found], dtype=int), masks)


def _class_map(about: dict) -> np.ndarray:
    """Class of each pixel, as the annotation's loader makes it."""
    with Image.open(about['seg_map_path']) as file:
        stored = np.asarray(file)
    classes = stored.copy()
    for old, new in (about.get('label_map') or {}).items():
        classes[stored == old] = new
    if about.get('reduce_zero_label'):
        classes = np.where(classes == 0, 255, classes - (classes != 255)).astype(np.uint8)
    return classes


def _decode(mask: dict | list, shape: tuple[int, int]) -> np.ndarray:
    """A mask of COCO, polygons or run lengths, as (H, W) bool."""
    from pycocotools import mask as coder

    if isinstance(mask, list):
        mask = coder.merge(coder.frPyObjects(mask, *shape))
    elif isinstance(mask['counts'], list):
        mask = coder.frPyObjects(mask, *mask['size'])
    return coder.decode(mask).astype(bool)
