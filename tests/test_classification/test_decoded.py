"""Pictures are decoded once a machine, and what is kept of them is never taken for others."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mkbackbones import caches
from mkbackbones.classification import ImageFolder, decoded, in_memory

from ..processes import in_processes
from ..test_study.tiny import write_image_folder


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The cache folder's part for pixels, where small and young pictures are kept, too."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(decoded, 'LEAST_BYTES', 0)
    monkeypatch.setattr(caches, 'SETTLED_SECONDS', 0)
    return tmp_path / 'cache' / 'mkbackbones' / 'pixels'


@pytest.fixture
def opened(monkeypatch):
    """Paths of the pictures that are decoded."""
    found = []

    def loader(path):
        found.append(path)
        with Image.open(path) as image:
            return image.convert('RGB')

    monkeypatch.setattr(in_memory, 'default_loader', loader)
    return found


def pixels(root, loader=None, split='train'):
    dataset = ImageFolder(str(root), split, in_memory=True)
    dataset.loader = loader or in_memory.default_loader
    return dataset.load()[0]


@pytest.fixture
def folder(tmp_path):
    return write_image_folder(tmp_path / 'folder')


def plain(root):
    """Pixels without any of this."""
    dataset = ImageFolder(str(root), 'train')
    return torch.stack([dataset[i]['inputs'] for i in range(len(dataset))])


def test_the_second_time_one_picture_is_opened(folder, kept, opened):
    first = pixels(folder)
    assert len(opened) == 1 + len(first)
    del opened[:]
    second = pixels(folder)
    assert len(opened) == 1  # for its size
    assert torch.equal(first, second) and torch.equal(first.cpu(), plain(folder))
    second += 1  # in this process alone
    assert torch.equal(pixels(folder), first)
    assert len(list(kept.iterdir())) == 1


def test_relative_paths_are_those_of_their_folder(folder, kept, opened, tmp_path, monkeypatch):
    (tmp_path / 'other').mkdir()
    write_image_folder(tmp_path / 'other' / folder.name)
    for path in folder.rglob('*.png'):
        os.utime(path, ns=(0, 1))
    change(folder / 'train' / 'dark' / '3.png')
    for path in (tmp_path / 'other').rglob('*.png'):
        os.utime(path, ns=(0, 1))
    monkeypatch.chdir(tmp_path)
    first = pixels(folder.name)
    monkeypatch.chdir(tmp_path / 'other')
    assert not torch.equal(pixels(folder.name), first)
    del opened[:]
    absolute = pixels(folder)
    monkeypatch.chdir(tmp_path)
    assert torch.equal(pixels(folder), absolute)
    assert len(opened) == 2 + len(first)  # wherever the process is


def change(path):
    """Other pixels in a file of the same size and time of change."""
    content, about = path.read_bytes(), path.stat()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes().ljust(len(content), b'\0'))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize('what', ['time', 'size', 'place', 'codec'])
def test_what_differs_is_decoded_again(what, folder, kept, opened, monkeypatch):
    first = pixels(folder)
    path = folder / 'train' / 'dark' / '3.png'
    if what == 'time':
        change(path)
        os.utime(path, ns=(0, 1))
    elif what == 'size':
        about = path.stat()
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    elif what == 'place':
        folder = folder.rename(folder.with_name('elsewhere'))
    else:
        monkeypatch.setattr(decoded.PIL, '__version__', 'another')
    del opened[:]
    second = pixels(folder)
    assert len(opened) == 1 + len(first)
    assert torch.equal(second.cpu(), plain(folder))
    assert torch.equal(first, second) == (what in ('place', 'codec'))


def test_the_price_is_a_change_that_leaves_no_trace(folder, kept):
    first = pixels(folder)
    change(folder / 'train' / 'dark' / '3.png')
    assert torch.equal(pixels(folder), first)
    assert not torch.equal(plain(folder), first.cpu())


@pytest.mark.parametrize('damage', ['short', 'long', 'header', 'empty', 'folder'])
def test_a_damaged_file_is_not_used(damage, folder, kept):
    first = pixels(folder)
    (path,) = kept.iterdir()
    content = path.read_bytes()
    path.unlink()
    if damage == 'folder':
        path.mkdir()
    else:
        damaged = dict(
            short=content[:-1], long=content + b'\0', header=b'\0' + content[1:], empty=b''
        )
        path.write_bytes(damaged[damage])
    assert torch.equal(pixels(folder), first)
    if damage != 'folder':
        assert path.read_bytes() == content


def test_nothing_is_lost_where_nothing_can_be_kept(folder, kept, monkeypatch):
    wanted = plain(folder)
    kept.parent.parent.mkdir()
    kept.parent.write_text('no folder')
    assert torch.equal(pixels(folder).cpu(), wanted)
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setattr(decoded, 'cache_folder', no_home)
    assert torch.equal(pixels(folder).cpu(), wanted)


def no_home():
    raise RuntimeError('no home')


def test_a_disk_that_is_full_loses_nothing(folder, kept, monkeypatch):
    def full(path, *more, **named):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(decoded, 'written_aside', full)
    assert torch.equal(pixels(folder).cpu(), plain(folder))
    assert list(kept.iterdir()) == []


def test_what_another_loader_reads_is_not_kept(folder, kept):
    first = pixels(folder, lambda path: Image.new('RGB', (32, 32), 'red'))
    assert first[:, 0].min() == 255
    assert not kept.exists()


def test_young_and_small_pictures_are_not_kept(folder, kept, monkeypatch):
    monkeypatch.setattr(caches, 'SETTLED_SECONDS', 3600)
    pixels(folder)
    assert list(kept.iterdir()) == []
    monkeypatch.setattr(caches, 'SETTLED_SECONDS', 0)
    monkeypatch.setattr(decoded, 'LEAST_BYTES', 1 << 20)
    pixels(folder)
    assert list(kept.iterdir()) == []


def test_the_folder_is_bounded(folder, kept, monkeypatch):
    """Room for two of three splits: the one that was used longest ago goes."""
    sizes = {split: pixels(folder, split=split).numel() for split in ('train', 'val')}
    val = min(kept.iterdir(), key=lambda path: path.stat().st_size)
    train = max(kept.iterdir(), key=lambda path: path.stat().st_size)
    os.utime(train, ns=(0, 0))
    pixels(folder)  # a use
    os.utime(val, ns=(0, 1))
    monkeypatch.setattr(decoded, 'MOST_BYTES', sizes['train'] + 3 * sizes['val'] + 3000)
    pixels(folder, split='test')
    assert train.exists() and not val.exists() and len(list(kept.iterdir())) == 2
    monkeypatch.setattr(decoded, 'MOST_BYTES', sizes['val'] - 1)
    pixels(folder, split='val')  # which alone is too much: nothing is removed for it
    assert len(list(kept.iterdir())) == 2
    monkeypatch.setattr(decoded, 'DISK_SHARE', 0.0)
    assert not caches.make_room(kept, 1, 1 << 40, 0.0)


def decode(rank, folder, cache, out):
    """Add up the pixels in a process of its own, with a letter for each picture that it opens."""
    os.environ['XDG_CACHE_HOME'] = cache
    decoded.LEAST_BYTES = caches.SETTLED_SECONDS = 0
    load = in_memory.default_loader

    def loader(path):
        with open(f'{out}.opened', 'a') as file:
            file.write('x')
        time.sleep(0.02)  # or the first would be through before the second looks
        return load(path)

    in_memory.default_loader = loader
    Path(f'{out}.started.{rank}').touch()
    while not all(Path(f'{out}.started.{other}').exists() for other in range(3)):
        time.sleep(0.01)
    Path(f'{out}.{rank}').write_text(str(int(pixels(folder).sum())))


def test_one_of_several_processes_decodes(folder, kept, tmp_path):
    out = tmp_path / 'out'
    in_processes(3, decode, str(folder), str(tmp_path / 'cache'), str(out))
    sums = {int(Path(f'{out}.{rank}').read_text()) for rank in range(3)}
    assert sums == {int(plain(folder).long().sum())}
    assert len(Path(f'{out}.opened').read_text()) == len(plain(folder)) + 3


def test_nobody_waits_for_ever_or_for_the_dead(folder, kept, monkeypatch):
    wanted = plain(folder)
    kept.mkdir(parents=True)
    lock = kept.with_suffix('.lock')
    hold = 'import sys, time; from mkbackbones.files import locked; f = open(sys.argv[1], "ab")'
    hold += '; print(locked(f.fileno()))'
    command = [sys.executable, '-c', f'{hold}; sys.stdout.flush(); time.sleep(600)', str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        monkeypatch.setattr(decoded, 'WAIT_SECONDS', 0.2)
        start = time.monotonic()
        assert torch.equal(pixels(folder).cpu(), wanted)
        assert time.monotonic() - start > 0.2 and list(kept.iterdir()) == []
        holder.kill()
    (kept / '.left.npy.1234.partial').write_bytes(b'what it left')
    assert torch.equal(pixels(folder).cpu(), wanted)
    assert any(path.suffix == '.npy' for path in kept.iterdir())
