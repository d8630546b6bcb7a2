"""Whatever befalls the files of a set: the right result, or one sentence."""

import json
import tempfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mkbackbones.datasets import DatasetError, Splitter, write_dataset
from mkbackbones.datasets.coco_file import is_no_mask

from .mutations import damaged
from .readers import READERS

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=900)


def convert(reader, files, skip_bad):
    """Write the files and convert them: (summary, COCO files), or the error."""
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder, 'set'), Path(folder, 'out')
        root.mkdir()
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        try:
            converter = reader.make(root, skip_bad=skip_bad, **reader.options)
            splitter = Splitter('random', ratios=(1, 0, 0))
            summary = write_dataset(converter, out, splitter=splitter, skip_bad=skip_bad)
        except DatasetError as error:
            assert [path.name for path in Path(folder).iterdir()] == ['set']
            return None, str(error)
        return summary, check_output(out)


def check_output(out):
    """The number of objects of each stem, in an output that holds together."""
    coco = json.loads((out / 'annotations/train.json').read_text())
    sizes = {}
    for image in coco['images']:
        pixels = cv2.imread(str(out / 'images/train' / image['file_name']), cv2.IMREAD_UNCHANGED)
        assert pixels.shape[:2] == (image['height'], image['width'])
        sizes[image['id']] = (image['file_name'].rpartition('.')[0], pixels.shape[:2])
        masks = out / 'masks/train' / f'{sizes[image["id"]][0]}.png'
        if masks.parent.is_dir():
            seg_map = cv2.imread(str(masks), cv2.IMREAD_UNCHANGED)
            assert seg_map.shape == pixels.shape[:2]
            assert set(np.unique(seg_map)) <= {*range(len(coco['categories']) + 1), 255}
    counts = Counter({stem: 0 for stem, _ in sizes.values()})
    for item in coco['annotations']:
        stem, (height, width) = sizes[item['image_id']]
        x, y, w, h = item['bbox']
        assert 0 <= x < x + w <= width + 1e-6 and 0 <= y < y + h <= height + 1e-6
        segmentation = item.get('segmentation')
        if segmentation and not is_no_mask(segmentation):
            drawn = coco_mask.decode(
                coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
            )
            assert drawn.sum() == item['area'] > 0
        counts[stem] += 1
    return counts


def check(reader, mutation, skip_bad):
    files, lossy = mutation
    summary, result = convert(reader, files, skip_bad)
    if summary is None:
        assert result and '\n' not in result and len(result) < 2000
        return
    # Names may have a folder before them where two images have one stem.
    for stem, count in result.items():
        expected = reader.objects.get(stem.rpartition('__')[2], 0)
        dropped = sum('dropped' in fix for fix in summary.fixes)
        dropped += sum(note.startswith('left out: ') for note in summary.notes)
        assert lossy or count or not expected, (stem, summary.notes)
        assert lossy or count + dropped >= expected, (stem, count, summary.fixes)


@pytest.mark.parametrize('name', READERS)
def test_the_sets_themselves_are_right(name):
    reader = READERS[name]
    summary, counts = convert(reader, reader.files, skip_bad=False)
    assert summary is not None, counts
    assert counts == reader.objects


@pytest.mark.parametrize('name', READERS)
def test_damage(name):
    reader = READERS[name]

    @FEW
    @given(damaged(reader.files), st.booleans())
    def run(mutation, skip_bad):
        check(reader, mutation, skip_bad)

    run()


@pytest.mark.slow
@pytest.mark.parametrize('name', READERS)
def test_much_damage(name):
    reader = READERS[name]

    @MANY
    @given(damaged(reader.files), st.booleans())
    def run(mutation, skip_bad):
        check(reader, mutation, skip_bad)

    run()
