"""Images in a folder a class, as torchvision reads them, in train, val and test splits."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.structures import BaseDataElement
from torchvision.datasets import ImageFolder as TorchvisionImageFolder
from torchvision.transforms import v2

from ..hints import did_you_mean
from ..registry import DATASETS

__all__ = ['ImageFolder']

SPLITS = ('train', 'val', 'test')


@DATASETS.register_module()
class ImageFolder(TorchvisionImageFolder):
    """``<data_root>/{train,val[,test]}/<class>/*``.

    Without a ``test`` folder, the ``val`` folder is the test split, and every tenth image of each
    class in the ``train`` folder, by name, is the val split: what is picked on the val split must
    not have seen the images that the report is about.

    Args:
        data_root (str): The folder.
        split (str): ``train``, ``val`` or ``test``.
        transforms (list[dict]): Transforms of ``torchvision.transforms.v2`` by name, e.g.
            ``dict(type='RandomResizedCrop', size=112)``; images come as uint8 (3, H, W).

    Raises:
        ValueError: The split or a transform is unknown.
        FileNotFoundError: A folder is missing.
    """

    #: Of how many images of a class in the train folder one goes to the val split.
    HELD_OUT = 10

    def __init__(self, data_root: str, split: str, transforms: list[dict] | None = None) -> None:
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
        super().__init__(
            str(folder), transform=build_transforms(transforms or []), allow_empty=True
        )
        if not has_test and split != 'test':
            self.samples = self.held_out(split == 'val')
            self.targets = [label for _, label in self.samples]
        self.metainfo = {'classes': tuple(self.classes)}
        #: How the splits came about, for a report.
        self.split_rule = (
            'folders train, val and test'
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

    def __getitem__(self, index: int) -> dict:
        image, label = super().__getitem__(index)
        sample = BaseDataElement(metainfo={'img_path': self.samples[index][0]})
        sample.gt_label = torch.tensor(label)
        return {'inputs': image, 'data_samples': sample}


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
