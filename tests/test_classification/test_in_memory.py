"""Pictures that are decoded once and augmented in batches: the same pictures as one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.runner import Runner
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from mkbackbones.classification import ImageFolder
from mkbackbones.classification.batch_transforms import (
    BatchTransforms,
    crop_and_resize,
    random_boxes,
)
from mkbackbones.engine.counted import Numbered, SeededSamples

from ..test_study.tiny import write_image_folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp('images') / 'folder')


def draw_box(crop, images):
    """Where torchvision cuts, under the name that it has for it."""
    draw = getattr(crop, 'make_params', None) or crop._get_params
    return draw(images)


@st.composite
def crops(draw):
    """A picture's size, a box in it, and a larger size."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
    top, left = draw(st.integers(0, height - tall)), draw(st.integers(0, width - wide))
    size = draw(st.integers(tall, 40)), draw(st.integers(wide, 40))
    return (height, width), (top, left, tall, wide), size, draw(st.booleans())


@given(crops(), st.integers(0, 2**16))
def test_a_crop_is_torchvisions(crop, seed):
    (height, width), box, size, flipped = crop
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    found = crop_and_resize(image[None], torch.tensor([box]), torch.tensor([flipped]), size)[0]
    wanted = functional.resized_crop(image, *box, size=list(size), antialias=True)
    wanted = wanted.flip(-1) if flipped else wanted
    assert (found.int() - wanted.int()).abs().max() <= 1


def test_boxes_are_drawn_as_torchvision_draws_them():
    """Area, shape and place: means and extremes of many draws."""
    torch.manual_seed(0)
    size, scale, ratio = (48, 64), (0.35, 1.0), (3 / 4, 4 / 3)
    ours = random_boxes(4000, size, scale, ratio).double()
    crop = v2.RandomResizedCrop(16, scale, ratio)
    image = torch.zeros(3, *size)
    params = [draw_box(crop, [image]) for _ in range(4000)]
    theirs = torch.tensor([[p[k] for k in ('top', 'left', 'height', 'width')] for p in params])
    assert ((ours[:, 0] + ours[:, 2] <= 48) & (ours[:, 1] + ours[:, 3] <= 64)).all()
    for ours_of, theirs_of in (
        (ours.mean(0), theirs.double().mean(0)),
        (ours.std(0), theirs.double().std(0)),
        (ours.quantile(0.1, 0), theirs.double().quantile(0.1, 0)),
    ):
        # Four standard errors of a mean of such values, and a pixel for quantiles.
        assert (ours_of - theirs_of).abs().max() < 1.2


@pytest.mark.parametrize('size', [(10, 90), (90, 10), (20, 20)])
def test_no_box_fits(size):
    boxes = random_boxes(5, size, (0.9, 1.0), (1.0, 1.0) if size != (20, 20) else (2.0, 2.0))
    crop = v2.RandomResizedCrop(4, (0.9, 1.0), (1.0, 1.0) if size != (20, 20) else (2.0, 2.0))
    wanted = draw_box(crop, [torch.zeros(3, *size)])
    assert boxes.tolist() == [[wanted[k] for k in ('top', 'left', 'height', 'width')]] * 5


def test_resize_and_flip_alone():
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(BatchTransforms([])(images), images)
    mirror = BatchTransforms([dict(type='RandomHorizontalFlip', p=1.0)])
    assert torch.equal(mirror(images), images.flip(-1))
    some = BatchTransforms([dict(type='RandomHorizontalFlip')])
    torch.manual_seed(0)
    flipped = [not torch.equal(a, b) for a, b in zip(some(images), images)]
    assert 0 < sum(flipped) < 6  # each image draws for itself
    resize = BatchTransforms([dict(type='Resize', size=(16, 12))])
    wanted = functional.resize(images, [16, 12], antialias=True)
    assert (resize(images).int() - wanted.int()).abs().max() <= 1


def test_items_and_batches(folder):
    transforms = [dict(type='Resize', size=(48, 48))]
    plain, kept = (ImageFolder(str(folder), 'val', transforms, m) for m in (False, True))
    assert len(plain) == len(kept) > 2
    assert kept.memory is None  # nothing is decoded before it is asked for
    for index in range(len(plain)):
        one, other = plain[index], kept[index]
        assert (one['inputs'].int() - other['inputs'].int()).abs().max() <= 1
        assert other['inputs'].dtype == torch.uint8
        assert one['data_samples'].gt_label == other['data_samples'].gt_label
        assert one['data_samples'].img_path == other['data_samples'].img_path
    cfg = dict(
        dataset=dict(type='mkbackbones.ImageFolder', data_root=str(folder), split='val',
                     transforms=transforms, in_memory=True),
        sampler=dict(type='DefaultSampler', shuffle=False), batch_size=3, num_workers=0,
        collate_fn=dict(type='default_collate'),
    )  # fmt: skip
    batch = next(iter(Runner.build_dataloader(cfg)))
    assert batch['inputs'].shape == (3, 3, 48, 48) and len(batch['data_samples']) == 3


def test_draws_follow_the_place_in_the_training(folder):
    transforms = [dict(type='RandomResizedCrop', size=40), dict(type='RandomHorizontalFlip')]
    dataset = ImageFolder(str(folder), 'train', transforms, in_memory=True)
    seeded = SeededSamples(dataset, (3, 0))

    def batch(number):
        items = seeded.__getitems__([Numbered(i, 0, number, i) for i in range(4)])
        return torch.stack([item['inputs'] for item in items])

    first = batch(7)
    assert not torch.equal(batch(8), first)
    torch.rand(3)
    assert torch.equal(batch(7), first)


@pytest.mark.parametrize(
    ('transforms', 'words'),
    [
        ([dict(type='ColorJitter')], "no transform 'ColorJitter'; choose from"),
        ([dict(type='Resize', size=48), dict(type='Resize', size=48)], 'to .height, width.'),
        ([dict(type='Resize', size=(48, 48))] * 2, 'takes one RandomResizedCrop or Resize'),
        ([dict(type='RandomResizedCrop', size=(-5, -5))], 'whole numbers above 0'),
    ],
)
def test_what_no_batch_can_be_given(folder, transforms, words):
    with pytest.raises(ValueError, match=words):
        ImageFolder(str(folder), 'train', transforms, in_memory=True)


def test_pictures_that_do_not_fit(folder, tmp_path, monkeypatch):
    small = [dict(type='Resize', size=(8, 8))]
    with pytest.raises(ValueError, match='only scales up, not down to 8x8'):
        ImageFolder(str(folder), 'val', small, in_memory=True)
    odd = write_image_folder(tmp_path / 'odd')
    path = sorted((odd / 'train').rglob('*.png'))[3]
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(path)
    with pytest.raises(ValueError, match=f'{path.name} is 7x9.*pictures of one size'):
        ImageFolder(str(odd), 'train', in_memory=True)[0]
    loader = torch.utils.data.DataLoader(
        ImageFolder(str(folder), 'val', in_memory=True), num_workers=1
    )
    with pytest.raises(ValueError, match='set num_workers=0, not 1'):
        next(iter(loader))
