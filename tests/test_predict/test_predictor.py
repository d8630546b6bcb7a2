import copy
import threading

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

import mkbackbones
from mkbackbones.engine.defect_score import class_probabilities, largest_probability
from mkbackbones.predict import PictureError
from mkbackbones.predict.batches import Halving, ahead, batched
from mkbackbones.predict.model import check_count, watch_overflow
from mkbackbones.runner.errors import InputError

from .blobs import picture

CPU = dict(device='cpu')
#: Over the seams of tiles of 64 that share 16, at their crossing, in the middle of one, and two
#: that lie on both sides of a seam.
BLOBS = (
    (40, 10, 140, 20, 200),
    (50, 50, 62, 62, 150, True),
    (5, 40, 25, 60, 255),
    (100, 90, 110, 100, 180),
    (112, 90, 122, 100, 170),
)


def test_pictures_in_their_order(blobs, pictures):
    predictor = mkbackbones.Predictor(*blobs(), **CPU)
    a, b, c = predictor(sorted(pictures.iterdir()))
    assert (a.width, a.height) == (80, 60) and a.path.endswith('a.png')
    assert sorted(one.box for one in a.instances) == [(10, 10, 10, 20), (40, 5, 30, 20)]
    assert {one.name for one in a.instances} == {'red', 'white'}
    assert a.score == pytest.approx(250 / 255) and b.score == pytest.approx(128 / 255)
    assert c.instances == () and c.score == 0
    assert [one.bitmap().sum() for one in a.instances] == [one.area for one in a.instances]
    assert threading.active_count() < 5


def test_arrays_are_as_opencv_reads_them(blobs, pictures):
    predictor = mkbackbones.Predictor(*blobs(), **CPU)
    path = pictures / 'a.png'
    (of_file,), (of_array,) = predictor(path), predictor(cv2.imread(str(path)))
    assert of_file.instances == of_array.instances and of_array.path is None
    (grey,) = predictor(np.full((20, 20), 130, np.uint8))
    assert grey.instances[0].name == 'white'
    for wrong in (np.zeros((5, 5)), np.zeros((0, 5), np.uint8)):
        with pytest.raises(PictureError, match='array of'):
            predictor(wrong)
    with pytest.raises(PictureError, match='image 0 has 4 channels'):
        predictor(np.zeros((5, 5, 4), np.uint8))


@pytest.mark.parametrize('more', ['', ', with_masks=False'])
def test_a_defect_on_a_seam_is_one(blobs, more):
    config = blobs(more=more)
    whole = mkbackbones.Predictor(*config, **CPU)
    tiled = mkbackbones.Predictor(*config, **CPU, tile=64, overlap=16)
    image = picture(130, 150, *BLOBS)
    (wanted,), (found,) = whole(image), tiled(image)
    assert len(found.instances) == len(BLOBS)

    def order(instance):
        return instance.box

    assert sorted(found.instances, key=order) == sorted(wanted.instances, key=order)
    assert found.score == wanted.score


@settings(max_examples=15)
@given(st.integers(17, 150), st.integers(17, 150), st.integers(32, 70))
def test_class_maps_have_no_seams(segmentor, height, width, tile):
    """With as much overlap as the network looks around, tiles change nothing."""
    image = picture(height, width, *BLOBS, seed=height)
    whole, tiled = segmentor(None), segmentor(tile)
    (wanted,), (found,) = whole(image), tiled(image)
    assert np.array_equal(found.class_map, wanted.class_map)
    assert found.score == pytest.approx(wanted.score, abs=1e-6)
    for one, other in zip(found.instances, wanted.instances, strict=True):
        assert one.mask == other.mask and one.score == pytest.approx(other.score, abs=1e-6)


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory):
    import sys

    from .blobs import write_blobs

    folder = tmp_path_factory.mktemp('segmentor')
    sys.path.insert(0, str(folder))
    config = write_blobs(folder, 'segmentation')
    made = {}

    def make(tile):
        if tile not in made:
            more = {} if tile is None else dict(tile=tile, overlap=16)
            made[tile] = mkbackbones.Predictor(*config, **CPU, **more)
        return made[tile]

    yield make
    sys.path.remove(str(folder))


def test_a_class_map_tells_its_regions(segmentor):
    (found,) = segmentor(None)(picture(60, 80, (10, 10, 40, 40, 200)))
    (region,) = found.instances
    assert region.name == 'blob' and np.array_equal(region.bitmap(), found.class_map == 1)
    assert region.score == pytest.approx(found.score) and found.class_map.dtype == np.uint8


def test_pixels_of_no_more_than_a_tile_go_through_the_network_at_once(blobs):
    predictor = mkbackbones.Predictor(*blobs('segmentation'), **CPU, tile=64, overlap=16)
    shapes = []
    find = predictor.model.find
    predictor.model.find = lambda image, sample: shapes.append(image.shape) or find(image, sample)
    predictor(picture(300, 400))
    assert len(shapes) > 30 and set(shapes) == {(3, 64, 64)}


def test_what_cannot_be_used_is_told_and_the_others_are_not_lost(blobs, pictures):
    (pictures / 'broken.png').write_bytes((pictures / 'a.png').read_bytes()[:200])
    cv2.imwrite(str(pictures / 'deep.png'), np.full((30, 30), 40000, np.uint16))
    predictor = mkbackbones.Predictor(*blobs(), **CPU, batch_size=8)
    paths = [pictures / n for n in ('a.png', 'broken.png', 'gone.png', 'deep.png', 'c.png')]
    outcomes = list(predictor.outcomes(paths))
    assert [bool(one.fault) for one in outcomes] == [False, True, True, False, False]
    assert 'broken.png' in outcomes[1].fault and 'gone.png' in outcomes[2].fault
    assert outcomes[3].prediction.score == pytest.approx((40000 >> 8) / 255)
    with pytest.raises(PictureError, match='broken'):
        predictor(paths)


def test_deep_pictures_are_reduced_as_for_training(blobs, pictures):
    predictor = mkbackbones.Predictor(*blobs(), **CPU, bit_depth=12)
    for name, value in (('fits', 3000), ('beyond', 5000)):
        cv2.imwrite(str(pictures / f'{name}.tif'), np.full((30, 30), value, np.uint16))
    fits, beyond = predictor.outcomes([pictures / 'fits.tif', pictures / 'beyond.tif'])
    assert fits.prediction.score == pytest.approx((3000 >> 4) / 255)
    assert 'value 5000 does not fit in 12 bits' in beyond.fault


def test_another_number_of_channels_is_told(blobs, pictures):
    options = ['test_dataloader.dataset.pipeline.0.color_type=unchanged']
    predictor = mkbackbones.Predictor(*blobs(), **CPU, cfg_options=options)
    cv2.imwrite(str(pictures / 'alpha.png'), np.zeros((20, 20, 4), np.uint8))
    outcomes = list(predictor.outcomes([pictures / 'alpha.png', pictures / 'a.png']))
    assert 'alpha.png has 4 channels where the network of the config takes 3' in outcomes[0].fault
    assert outcomes[1].prediction is not None


def test_only_pictures_of_one_size_share_a_batch(blobs, pictures):
    predictor = mkbackbones.Predictor(*blobs(), **CPU, batch_size=3)
    predictor.model.batches.clear()
    predictor([pictures / f'{name}.png' for name in 'abcab'])
    assert predictor.model.batches == [2, 1, 2]


def test_the_batch_is_halved_where_memory_does_not_do(blobs, pictures, capsys):
    predictor = mkbackbones.Predictor(*blobs(), **CPU, batch_size=8)
    step = predictor.model.test_step

    def small(data):
        if len(data['inputs']) > 2:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        return step(data)

    predictor.model.test_step = small
    found = predictor([pictures / 'a.png'] * 9)
    assert [len(one.instances) for one in found] == [2] * 9
    told = capsys.readouterr().err
    assert 'batches of 4' in told and 'batches of 2' in told and predictor.batch_size == 2
    with pytest.raises(InputError, match='--tile'):
        Halving(lambda batch: small({'inputs': 'abc'}), 1)([1])


@pytest.mark.parametrize(
    'given, told',
    [
        (dict(amp='bf61'), "did you mean 'bf16'"),
        (dict(amp='fp16'), 'bf16 on a CPU'),
        (dict(batch_size=0), 'batch size 0'),
        (dict(tile=10), 'tile 10'),
        (dict(device='gpu'), 'take auto, cpu or cuda'),
        (dict(bit_depth=8), 'bit depth 8'),
        (dict(cfg_options=['test_dataloader=None']), 'test_dataloader.dataset'),
        (dict(cfg_options=['default_scope=mmengine']), 'mmengine'),
    ],
)
def test_what_cannot_work_is_told(blobs, given, told):
    with pytest.raises(InputError, match=told):
        mkbackbones.Predictor(*blobs(), **{**CPU, **given})


def save(path, state=None, **meta):
    state = state or {'layer.weight': torch.zeros(1, 2), 'layer.bias': torch.zeros(1)}
    torch.save(dict(state_dict=state, meta=meta), path)


def test_a_checkpoint_of_other_classes_is_told(blobs, tmp_path):
    config, _ = blobs()
    path = tmp_path / 'other.pth'
    for classes in (('red', 'blue'), ('red', 'white', 'blue')):
        save(path, dataset_meta=dict(classes=classes))
        with pytest.raises(InputError, match=r'red, .*; the config has 2, red, white'):
            mkbackbones.Predictor(config, path, **CPU)
    save(path, {'layer.weight': torch.zeros(1, 3), 'layer.bias': torch.zeros(1)})
    with pytest.raises(InputError, match='other classes'):
        mkbackbones.Predictor(config, path, **CPU)
    save(path, {'layer.weight': torch.zeros(1, 2)})
    with pytest.raises(InputError, match=r'lacks 1 weights .*layer\.bias'):
        mkbackbones.Predictor(config, path, **CPU)
    with pytest.raises(InputError, match='does not exist'):
        mkbackbones.Predictor(config, tmp_path / 'none.pth', **CPU)


def test_more_classes_than_names_are_told():
    heads = dict(decode_head=torch.nn.Linear(1, 1), roi_head=torch.nn.Linear(1, 1))
    heads['roi_head'].bbox_head = torch.nn.ModuleList([torch.nn.Linear(1, 1)] * 2)
    for head in (heads['decode_head'], heads['roi_head'].bbox_head[-1]):
        model = torch.nn.Module()
        for name, one in heads.items():
            setattr(model, name, one)
        check_count(model, ['a', 'b'])
        head.num_classes = 2
        check_count(model, ['a', 'b'])
        with pytest.raises(InputError, match=r'has 2 classes .* names 3, a, b, c'):
            check_count(model, ['a', 'b', 'c'])
        del head.num_classes


def test_an_overflow_is_told():
    model = torch.nn.Module()
    model.backbone = torch.nn.Identity()
    watch_overflow(model)
    fine, infinite = torch.ones(2), torch.tensor([1.0, torch.inf])
    assert model.backbone((fine, fine)) == (fine, fine)
    for outputs in (infinite, (fine, infinite)):
        with pytest.raises(InputError, match='bf16'):
            model.backbone(outputs)


def test_a_config_that_is_given_stays_as_it_is(blobs):
    config, checkpoint = blobs()
    cfg = Config.fromfile(config)
    before = copy.deepcopy(cfg.to_dict())
    for _ in range(2):
        mkbackbones.Predictor(cfg, checkpoint, **CPU, cfg_options=['model.with_masks=False'])
    assert cfg.to_dict() == before


def test_scores_are_probabilities_with_one_output_too():
    """mmseg gives the sigmoid of a single output, and the logits of several."""
    one = torch.tensor([[[0.9, 0.2]]])
    two = torch.stack([torch.zeros(1, 2), torch.logit(one[0])])
    for logits in (one, two):
        probabilities = class_probabilities(logits)
        torch.testing.assert_close(probabilities[1], one[0])
        assert largest_probability(probabilities, ['background', 'x']) == pytest.approx(0.9)
        assert largest_probability(probabilities, ['wall', 'x']) == 1


def test_bfloat16_is_used(blobs, pictures):
    predictor = mkbackbones.Predictor(*blobs(), **CPU, amp='bf16')
    kinds = []
    find = predictor.model.find

    def note(image, sample):
        kinds.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return find(image, sample)

    predictor.model.find = note
    predictor(pictures / 'a.png')
    assert kinds == [torch.bfloat16]


@given(st.lists(st.integers(0, 2)), st.integers(1, 4))
def test_batches_keep_the_order(shapes, size):
    batches = list(batched(enumerate(shapes), lambda: size, lambda item: item[1] or None))
    assert [item for batch in batches for item in batch] == list(enumerate(shapes))
    for batch in batches:
        assert len({shape for _, shape in batch}) == 1 and len(batch) <= size
        assert batch[0][1] or len(batch) == 1


def test_what_is_made_ahead():
    def items():
        yield from range(5)
        raise OSError('gone')

    seen = []
    with pytest.raises(OSError, match='gone'):
        for item in ahead(items(), 2):
            seen.append(item)
    assert seen == list(range(5))
    before = threading.active_count()
    unfinished = ahead(iter(int, 1), 2)
    next(unfinished)
    unfinished.close()
    assert threading.active_count() == before
