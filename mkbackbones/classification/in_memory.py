"""Pictures of an image folder, decoded once and kept on the device that trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import get_image_backend
from torchvision.datasets.folder import default_loader

from .decoded import decoded_once

__all__ = ['decode']


def decode(paths: Sequence[str], load: Callable[[str], Image.Image]) -> Tensor:
    """Decode pictures of one size, or read what was decoded before (:mod:`.decoded`).

    Args:
        paths (Sequence[str]): The files, at least one.
        load (Callable): Opens one as RGB.

    Returns:
        Tensor: uint8 (N, 3, H, W), on the GPU if there is one.

    Raises:
        ValueError: Pictures differ in size, or take more than half of the memory that is free.
    """
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    width, height = load(paths[0]).size
    check_memory(len(paths), height, width, device)
    shape = len(paths), 3, height, width

    def pixels_of(threads: int | None) -> np.ndarray:
        pixels = np.empty(shape, np.uint8)

        def read(index: int) -> None:
            picture = load(paths[index])
            if picture.size != (width, height):
                raise ValueError(
                    f'{paths[index]} is {picture.size[0]}x{picture.size[1]}, {paths[0]} is '
                    f'{width}x{height}; in_memory=True takes pictures of one size: leave it out, '
                    'or resize the files'
                )
            pixels[index] = np.asarray(picture).transpose(2, 0, 1)

        # Decoders release the GIL; torch's threads are this process's share of the cores.
        with ThreadPoolExecutor(threads or torch.get_num_threads()) as pool:
            for _ in pool.map(read, range(len(paths))):
                pass
        return pixels

    if load is default_loader and get_image_backend() == 'PIL':
        return torch.from_numpy(decoded_once(paths, shape, pixels_of)).to(device)
    return torch.from_numpy(pixels_of(None)).to(device)  # what another one reads is not known


def check_memory(count: int, height: int, width: int, device: torch.device) -> None:
    """Raise ValueError if pictures take more than half of the device's free memory."""
    if device.type != 'cuda':
        return  # a system that runs short says so, or takes it from its caches
    free = torch.cuda.mem_get_info(device)[0]
    wanted = count * height * width * 3
    if 2 * wanted > free:
        raise ValueError(
            f'{count} pictures of {width}x{height} take {wanted / 2**30:.1f} GiB, and the GPU has '
            f'{free / 2**30:.1f} GiB free, of which they may take half; leave in_memory out'
        )
