import json
from collections import Counter

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mkbackbones.datasets import DatasetError, SyntheticDefects, iter_records
from mkbackbones.datasets.metainfo import SYNTHETIC_INSTANCES, SYNTHETIC_SEMANTIC


def make(train=30, **kwargs):
    return SyntheticDefects(dict(train=train, val=2, test=2), **kwargs)


@pytest.fixture(scope='module')
def records():
    return [make().record('train', index) for index in range(80)]


def test_an_image_depends_on_seed_split_and_index_alone():
    first, longer = (list(iter_records(make(n, seed=5))) for n in (3, 4))
    key = {(record.split, record.file_name): record.image for record in longer}
    assert all(record.image == key[record.split, record.file_name] for record in first)
    assert len({record.image for record in longer}) == len(longer)
    assert make(seed=6).record('train', 0).image != first[0].image


def pixels(record, instance):
    canvas = np.zeros((record.height, record.width), np.uint8)
    instance.paint(canvas, 1)
    return canvas > 0


def test_boxes_are_the_tight_boxes_of_disjoint_masks(records):
    for record in records:
        covered = np.zeros((128, 128), int)
        for instance in record.instances:
            inside = instance.mask
            assert inside.sum() >= 9
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            drawn = pixels(record, instance)
            covered += drawn
            assert (record.seg_map[drawn] == instance.label + 1).all()
        assert covered.max() <= 1
        assert np.array_equal(covered > 0, record.seg_map > 0)


def test_every_class_occurs_and_some_images_are_free_of_defects(records):
    counts = Counter(instance.label for record in records for instance in record.instances)
    assert set(counts) == set(range(5))
    assert max(counts.values()) < 3 * min(counts.values())
    assert {len(record.instances) for record in records} == {0, 1, 2, 3, 4}


def test_a_defect_changes_what_the_mask_covers(records):
    """Against its surroundings, a masked region differs in level or in local contrast."""
    visible, total = 0, 0
    for record in records:
        image = cv2.imdecode(np.frombuffer(record.image, np.uint8), cv2.IMREAD_GRAYSCALE) * 1.0
        for instance in record.instances:
            drawn = pixels(record, instance)
            reach = cv2.dilate(drawn.astype(np.uint8), np.ones((13, 13))) > 0
            around = image[reach & (record.seg_map == 0)]
            inside = image[drawn]
            noise = around.std() / np.sqrt(len(inside)) + 1e-6
            level = abs(inside.mean() - around.mean()) / noise
            spread = abs(np.log(inside.std() / around.std()))
            visible += level > 4 or spread > 0.3
            total += 1
    assert visible >= 0.95 * total


def test_size_changes_the_resolution_and_not_the_scene():
    small, large = (make(size=size) for size in (96, 192))
    areas = []
    for data in (small, large):
        record = [data.record('train', index) for index in range(12)]
        areas.append(sum((item.seg_map > 0).mean() for item in record) / len(record))
    assert areas[1] == pytest.approx(areas[0], rel=0.6)
    assert large.record('train', 0).seg_map.shape == (192, 192)


def test_files_agree_with_each_other(synthetic):
    for split, count in dict(train=24, val=6, test=4).items():
        coco = COCO(synthetic / f'annotations/{split}.json')
        assert len(coco.imgs) == count
        assert [item['name'] for item in coco.loadCats(coco.getCatIds())] == list(
            SYNTHETIC_INSTANCES['classes']
        )
        for image in coco.imgs.values():
            pixels = cv2.imread(str(synthetic / 'images' / split / image['file_name']), -1)
            seg_map = cv2.imread(str(synthetic / 'masks' / split / image['file_name']), -1)
            assert pixels.shape == seg_map.shape == (image['height'], image['width'])
            drawn = np.zeros_like(seg_map)
            for annotation in coco.loadAnns(coco.getAnnIds(image['id'])):
                mask = coco.annToMask(annotation)
                drawn[mask > 0] = annotation['category_id']
                assert annotation['area'] == mask.sum()
                x, y, width, height = annotation['bbox']
                assert mask[y : y + height, x : x + width].sum() == mask.sum()
            assert np.array_equal(drawn, seg_map)


def test_ids_are_unique(synthetic):
    content = json.loads((synthetic / 'annotations/train.json').read_text())
    for key in ('images', 'annotations'):
        ids = [item['id'] for item in content[key]]
        assert ids == list(range(1, len(ids) + 1))


def test_metainfo_matches():
    assert SyntheticDefects.classes == SYNTHETIC_INSTANCES['classes']
    assert SYNTHETIC_SEMANTIC['classes'] == ('background', *SyntheticDefects.classes)
    assert len(SYNTHETIC_SEMANTIC['palette']) == 6


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(size=20), 'image size 20 .* 64 to 1024'),
        (dict(seed=-1), 'seed -1'),
        (dict(train=0), 'train with 0 images'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(DatasetError, match=message):
        make(**arguments)
