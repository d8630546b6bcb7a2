"""Images in a folder a class, as torchvision reads them, in train, val and test splits."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.transforms import v2

from ..arguments import FLAG, check
from ..compat.pictures import SparseImageFolder
from ..hints import did_you_mean
from ..registry import DATASETS
from .batch_transforms import BatchTransforms
from .in_memory import decode

__all__ = ['ImageFolder']

SPLITS = ('train', 'val', 'test')


@DATASETS.register_module()
class ImageFolder(SparseImageFolder):
    """``<data_root>/{train,val[,test]}/<class>/*``.

    Without a ``test`` folder, the ``val`` folder is the test split, and every tenth image of each
    class in the ``train`` folder, by name, is the val split: what is picked on the val split must
    not have seen the images that the report is about.

    Args:
        data_root (str): The folder.
        split (str): ``train``, ``val`` or ``test``.
        transforms (list[dict]): Transforms of ``torchvision.transforms.v2`` by name, e.g.
            ``dict(type='RandomResizedCrop', size=112)``; images come as uint8 (3, H, W).
        in_memory (bool): Whether pictures, which then have one size, are decoded once, at the first
            access, and kept on the GPU if there is one; their pixels stay in the user's cache
            folder for other processes (:mod:`~mkbackbones.classification.decoded`). Batches are
            augmented as a whole on the GPU
            (:class:`~mkbackbones.classification.batch_transforms.BatchTransforms`); the data loader
            takes ``num_workers=0`` and ``collate_fn=dict(type='default_collate')``.
        ann_file (str): A file that takes the place of the folders for the split: the paths of its
            pictures below ``data_root``, ``<folder>/<class>/<name>``, one a line.

    Raises:
        ValueError: The split or a transform is unknown, or pictures are too large for a transform
            in memory; at the first access, where they do not fit into memory.
        FileNotFoundError: A folder is missing.
    """

    #: Of how many images of a class in the train folder one goes to the val split.
    HELD_OUT = 10

    def __init__(
        self,
        data_root: str,
        split: str,
        transforms: list[dict] | None = None,
        in_memory: bool = False,
        ann_file: str = '',
    ) -> None:
        check('in_memory', in_memory, FLAG)
        if split not in SPLITS:
            raise ValueError(
                f'split={split!r} is unknown; choose from {", ".join(SPLITS)}'
                f'{did_you_mean(split, SPLITS)}'
            )
        root = Path(data_root)
        has_test = (root / 'test').is_dir()
        folder = root / (
            split if has_test else {'train': 'train', 'val': 'train'}.get(split, 'val')
        )
        if not folder.is_dir():
            raise FileNotFoundError(
                f'{folder} does not exist; an image folder has {root}/train/<class>/* and '
                f'{root}/val/<class>/*'
            )
        self.train_folder = root / 'train'
        super().__init__(str(folder), transform=build_transforms(transforms or []))
        if ann_file:
            self.samples = self.listed(root, Path(ann_file))
        elif not has_test and split != 'test':
            self.samples = self.held_out(split == 'val')
        self.targets = [label for _, label in self.samples]
        self.batch_transforms = BatchTransforms(transforms or []) if in_memory else None
        if self.batch_transforms is not None and self.samples:
            self.batch_transforms.check_size(self.loader(self.samples[0][0]).size)
        self.memory: tuple[Tensor, Tensor] | None = None
        self.metainfo = {'classes': tuple(self.classes)}
        #: How the splits came about, for a report.
        self.split_rule = (
            f'listed in {Path(ann_file).name}'
            if ann_file
            else 'folders train, val and test'
            if has_test
            else f'test: the folder val; val: every {self.HELD_OUT}th image by name of each class '
            'in the folder train; train: the others'
        )

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        """Number the classes as the train folder does, in every split.

        Raises:
            FileNotFoundError: There is no train folder, or no class in it.
            ValueError: The split has a class that the train folder lacks.
        """
        classes, index = super().find_classes(str(self.train_folder))
        here = super().find_classes(directory)[0]
        strange = sorted(set(here) - set(classes))
        if strange:
            raise ValueError(
                f'{directory} has the class {strange[0]!r}, which {self.train_folder} lacks; '
                f'classes there: {", ".join(classes[:8])}{did_you_mean(strange[0], classes)}'
            )
        return classes, index

    def held_out(self, wanted: bool) -> list[tuple[str, int]]:
        """The samples that are, or are not, held out for the val split."""
        kept, seen = [], dict.fromkeys(self.class_to_idx.values(), 0)
        for path, label in sorted(self.samples):
            if (seen[label] % self.HELD_OUT == 0) == wanted:
                kept.append((path, label))
            seen[label] += 1
        return kept

    def listed(self, root: Path, file: Path) -> list[tuple[str, int]]:
        """The samples that a file names."""
        found = []
        for line in file.read_text(encoding='utf-8').splitlines():
            name = Path(line).parent.name
            if name not in self.class_to_idx:
                raise ValueError(
                    f'{file} has {line!r}, whose folder {name!r} is no class; classes: '
                    f'{", ".join(self.classes[:8])}{did_you_mean(name, self.classes)}'
                )
            found.append((str(root / line), self.class_to_idx[name]))
        return found

    def __getitem__(self, index: int) -> dict:
        if self.batch_transforms is not None:
            return self.__getitems__([index])[0]
        image, label = super().__getitem__(index)
        return self.item(index, image, torch.tensor(label))

    def __getitems__(self, indices: list[int]) -> list[dict]:
        """A batch at once, as data loaders ask for it."""
        if self.batch_transforms is None:
            return [self[index] for index in indices]
        pixels, labels = self.load()
        chosen = torch.tensor([index % len(self) for index in indices], device=pixels.device)
        images = self.batch_transforms(pixels[chosen])
        return [self.item(*one) for one in zip(indices, images, labels[chosen])]

    def item(self, index: int, image: Tensor, label: Tensor) -> dict:
        """A sample as mmengine's models take it."""
        sample = BaseDataElement(metainfo={'img_path': self.samples[index][0]})
        sample.gt_label = label
        return {'inputs': image, 'data_samples': sample}

    def load(self) -> tuple[Tensor, Tensor]:
        """All pictures (N, 3, H, W) and labels (N,), decoded at the first call.

        Raises:
            ValueError: In a worker of a data loader, or if the pictures do not fit.
        """
        if (worker := get_worker_info()) is not None:
            raise ValueError(
                f'in_memory=True leaves data loader workers nothing to do; set num_workers=0, not '
                f'{worker.num_workers}'
            )
        if self.memory is None:
            pixels = decode([path for path, _ in self.samples], self.loader)
            labels = torch.tensor([label for _, label in self.samples], device=pixels.device)
            self.memory = pixels, labels
        return self.memory


def build_transforms(transforms: list[dict]) -> v2.Compose:
    """Build transforms from their configs, behind the conversion to a uint8 tensor.

    Raises:
        ValueError: torchvision has no transform of a name.
    """
    built = [v2.PILToTensor()]
    for cfg in transforms:
        arguments = dict(cfg)
        name = arguments.pop('type')
        if not hasattr(v2, name):
            raise ValueError(
                f'torchvision.transforms.v2 has no transform {name!r}{did_you_mean(name, dir(v2))}'
            )
        built.append(getattr(v2, name)(**arguments))
    return v2.Compose(built)
