"""``python -m mkbackbones browse-dataset``: a contact sheet of a data set with its annotations."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..runner.config_files import find_config, one_line, read_config
from .errors import CommandError, run_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from ..datasets.contact_sheet import Tile

SPLITS = ('train', 'val', 'test')
EPILOG = """
examples:
  python -m mkbackbones browse-dataset data/neu-det --split test --out neu-det.png
  python -m mkbackbones browse-dataset --config retinanet_swin-t-stock_neu-det --classes crazing
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones browse-dataset',
        description='Draw a contact sheet of a prepared data set or, with --config, of what a '
        'model sees: the data set of a config of mmdet or mmseg after its pipeline.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('folder', type=Path, nargs='?', help='a prepared data set')
    parser.add_argument('--config', help='path or name of a config, instead of a folder')
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE'
    )
    parser.add_argument('--split', choices=SPLITS, default='train', help='default: %(default)s')
    parser.add_argument('--classes', nargs='+', help='only images with one of these classes')
    parser.add_argument('--num', type=int, default=20, help='images; default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='which images; default: %(default)s')
    parser.add_argument(
        '--out', type=Path, default=Path('contact-sheet.png'), help='default: %(default)s'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), browse, argv)


def browse(args: argparse.Namespace) -> None:
    """Draw the sheet that the parsed arguments ask for.

    Raises:
        CommandError: There is nothing to draw, or an argument cannot work.
    """
    if (args.folder is None) == (args.config is None):
        raise CommandError('give either the folder of a prepared data set or --config')
    if args.num < 1:
        raise CommandError(f'--num {args.num} is too few; give at least 1')
    if args.out.suffix.lower() != '.png':
        raise CommandError(f'--out {args.out} does not end in .png')
    if args.cfg_options and args.config is None:
        raise CommandError('--cfg-options changes a config; give one with --config')
    source = PreparedSet(args) if args.config is None else ConfigSet(args)
    _check_classes(args.classes, source.classes)
    from ..datasets.contact_sheet import contact_sheet

    tiles = list(_chosen(source, args))
    if not tiles:
        wanted = f' with {" or ".join(args.classes)}' if args.classes else ''
        raise CommandError(f'{source.name}, {args.split}: there is no image{wanted}')
    title = f'{source.name}, {args.split}: {len(tiles)} of {len(source)} images'
    _save(contact_sheet(tiles, source.classes, source.palette, title), args.out)
    print(f'{title}: {args.out}')


def _check_classes(wanted: list[str] | None, known: tuple[str, ...]) -> None:
    from ..hints import did_you_mean

    for name in wanted or ():
        if name not in known:
            raise CommandError(
                f'--classes {name}: not a class of this set ({", ".join(known)})'
                f'{did_you_mean(name, known)}'
            )


def _chosen(source: PreparedSet | ConfigSet, args: argparse.Namespace) -> Iterator[Tile]:
    """Tiles in random order, with one of the wanted classes each, up to ``--num``."""
    from rich.console import Console
    from rich.progress import Progress

    from ..datasets.palette import clear_classes

    order = np.random.default_rng(args.seed).permutation(len(source))
    # The pipelines draw from the global generators.
    random.seed(args.seed)
    np.random.seed(args.seed)  # noqa: NPY002
    clear = clear_classes(source.classes, source.palette)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task('reading', total=min(args.num, len(source)))
        found = 0
        for index in order.tolist():
            if found == args.num:
                return
            tile = source.tile(index)
            if not args.classes or tile.classes(source.classes, clear) & set(args.classes):
                found += 1
                bar.advance(task)
                yield tile


def _save(figure: Figure, out: Path) -> None:
    from ..files import written_aside

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(out) as work:
            figure.savefig(work, format='png', dpi=110)
    except OSError as error:
        raise CommandError(f'{error.filename or out}: {error.strerror}') from error


class PreparedSet:
    """A folder that ``prepare-dataset`` wrote: boxes, masks or class maps as they are on disk.

    Raises:
        CommandError: The folder has no such split, or its annotations cannot be read.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        from ..study.report.style import COLOURS

        root, split = args.folder, args.split
        path = root / 'annotations' / f'{split}.json'
        if not path.is_file():
            raise CommandError(f'{path} does not exist; `prepare-dataset` writes such a folder')
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            self.images = content['images']
            categories = content['categories']
            names = [category['name'] for category in categories]
            self._label = {category['id']: i for i, category in enumerate(categories, start=1)}
            self._objects: dict[int, list[dict]] = {}
            for item in content['annotations']:
                self._objects.setdefault(item['image_id'], []).append(item)
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(f'{path} is not a COCO file ({one_line(error)})') from error
        self.name = root.resolve().name
        # As in the class maps, 0 is the background.
        self.classes = ('background', *names)
        self.palette = [(0, 0, 0), *_palette(names, COLOURS)]
        folder = root / 'images' / split
        self._folder = folder if folder.is_dir() else root / 'images'
        self._masks = root / 'masks' / split

    def __len__(self) -> int:
        return len(self.images)

    def tile(self, index: int) -> Tile:
        """Read one image with its annotations."""
        from ..datasets.contact_sheet import Tile
        from ..datasets.images import load_mask

        entry = self.images[index]
        path = self._folder / entry['file_name']
        image = _read_image(path)
        objects = self._objects.get(entry['id'], [])
        boxes = np.array([item['bbox'] for item in objects], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([self._label[item['category_id']] for item in objects], int)
        masks = None
        if any(item.get('segmentation') for item in objects):
            masks = [_polygon_mask(item, image.shape[:2]) for item in objects]
        mask = (self._masks / path.name).with_suffix('.png')
        seg_map = load_mask(mask.read_bytes(), str(mask)) if mask.is_file() else None
        # The class map shows what the masks show.
        masks = masks if seg_map is None else None
        return Tile(image, path.stem, boxes, labels, masks, seg_map)


def _palette(names: list[str], colours: Sequence[str]) -> list[tuple[int, int, int]]:
    """The shipped colours of the classes, and others for classes that have none."""
    from matplotlib.colors import to_rgb

    from ..datasets import metainfo

    shipped: dict[str, tuple] = {}
    for table in vars(metainfo).values():
        if isinstance(table, dict) and {'classes', 'palette'} <= table.keys():
            if table['classes'] == tuple(names):
                return [tuple(colour) for colour in table['palette']]
            shipped.update(zip(table['classes'], table['palette']))
    others = [tuple(round(255 * part) for part in to_rgb(colour)) for colour in colours[1:]]
    return [tuple(shipped.get(name, others[i % len(others)])) for i, name in enumerate(names)]


def _polygon_mask(item: dict, shape: tuple[int, int]) -> np.ndarray:
    from .. import opencv as cv2

    mask = np.zeros(shape, np.uint8)
    # A box without a mask has none, or one of an odd number of values.
    outlines = [outline for outline in item.get('segmentation') or [] if len(outline) % 2 == 0]
    outlines = [np.array(outline).reshape(-1, 2) for outline in outlines]
    # Corners of polygons lie on the edges between pixels, those of OpenCV on pixel centres.
    cv2.fillPoly(mask, [np.round(outline - 0.5).astype(np.int32) for outline in outlines], 1)
    return mask.astype(bool)


def _read_image(path: Path) -> np.ndarray:
    from ..study.report.truth import read_image

    try:
        return read_image(str(path))
    except OSError as error:
        raise CommandError(f'{path} cannot be read ({one_line(error)})') from error


class ConfigSet:
    """The data set of a config, through its pipeline.

    Raises:
        CommandError: The config or its data cannot be used.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        from ..runner.preflight import check_cv2, check_paths, check_scope

        check_cv2()
        path = find_config(args.config)
        cfg = read_config(path, args.cfg_options)
        check_scope(cfg, path)
        loader = cfg.get(f'{args.split}_dataloader')
        if not loader:
            raise CommandError(f'config {path} has no {args.split}_dataloader')
        check_paths(cfg, (args.split,))
        from mmengine.registry import DATASETS, init_default_scope

        init_default_scope(cfg.get('default_scope', 'mmengine'))
        try:
            self._data = DATASETS.build(loader.dataset)
        except Exception as error:  # whatever a data set of the user's raises
            raise CommandError(f'config {path}, {args.split}: {one_line(error)}') from error
        meta = self._data.metainfo
        self.name = path.stem
        self.classes = tuple(meta['classes'])
        self.palette = meta.get('palette') or _palette(list(self.classes), ('', '#0072b2'))

    def __len__(self) -> int:
        return len(self._data)

    def tile(self, index: int) -> Tile:
        """Run the pipeline on one image."""
        from ..datasets.contact_sheet import Tile

        try:
            item = self._data[index]
            image, sample = item['inputs'], item['data_samples']
        except Exception as error:  # a pipeline may raise anything
            raise CommandError(f'{self.name}, image {index}: {one_line(error)}') from error
        boxes: np.ndarray = np.zeros((0, 4))
        labels: np.ndarray = np.zeros(0, int)
        masks: np.ndarray | None = None
        seg_map: np.ndarray | None = None
        if 'gt_instances' in sample and 'bboxes' in sample.gt_instances:
            instances = sample.gt_instances
            boxes = np.asarray(getattr(instances.bboxes, 'tensor', instances.bboxes))
            labels = np.asarray(instances.labels)
            if 'masks' in instances:
                masks = np.asarray(instances.masks.to_ndarray()).astype(bool)
        if 'gt_sem_seg' in sample:
            seg_map = sample.gt_sem_seg.data.squeeze(0).numpy()
        title = Path(sample.metainfo.get('img_path', str(index))).stem
        return Tile(_to_rgb(image, sample.metainfo), title, boxes, labels, masks, seg_map)


def _to_rgb(image: Tensor, metainfo: dict) -> np.ndarray:
    """Undo what a pipeline did to the values: (3, height, width) tensor to RGB uint8."""
    pixels = image.numpy().transpose(1, 2, 0)
    norm = metainfo.get('img_norm_cfg')
    if norm:
        pixels = pixels * np.asarray(norm['std']) + np.asarray(norm['mean'])
    if not (norm and norm.get('to_rgb')):
        pixels = pixels[..., ::-1]  # OpenCV's order
    return np.clip(pixels.round(), 0, 255).astype(np.uint8)
