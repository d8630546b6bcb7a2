"""torchvision's image folders."""

from collections.abc import Callable
from pathlib import Path

from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import make_dataset

__all__ = ['SparseImageFolder']


class SparseImageFolder(ImageFolder):
    """torchvision's image folder, in which classes may be without images.

    Newer releases have ``allow_empty`` for it; older ones refuse such folders.
    """

    @staticmethod
    def make_dataset(
        directory: str | Path,
        class_to_idx: dict[str, int],
        extensions: tuple[str, ...] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        **allowed: bool,
    ) -> list[tuple[str, int]]:
        """Files and labels as torchvision lists them, class by class; arguments are its own."""
        samples: list[tuple[str, int]] = []
        for name in sorted(class_to_idx):
            only = {name: class_to_idx[name]}
            try:
                samples += make_dataset(directory, only, extensions, is_valid_file)
            except FileNotFoundError:  # no image of this class
                continue
        return samples
