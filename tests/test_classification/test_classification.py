"""Image folders, the linear head, accuracy."""

import pytest
import torch
from mmengine.structures import BaseDataElement

from mkbackbones.classification import Accuracy, ImageClassifier, ImageFolder
from mkbackbones.registry import DATASETS, METRICS, MODELS

from ..test_study.tiny import BACKBONE, write_image_folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp('images') / 'folder')


def names(dataset):
    return {path for path, _ in dataset.samples}


class TestImageFolder:
    def test_val_is_held_out_of_train_and_val_is_the_test(self, folder):
        train, val, test = (ImageFolder(str(folder), split) for split in ('train', 'val', 'test'))
        assert (len(train), len(val), len(test)) == (36, 4, 12)
        assert names(train).isdisjoint(names(val))
        assert all('/train/' in path for path in names(train) | names(val))
        assert all('/val/' in path for path in names(test))
        assert sorted(val.targets) == [0, 0, 1, 1]
        assert names(ImageFolder(str(folder), 'val')) == names(val)  # by rule, not by chance

    def test_a_test_folder_is_the_test(self, tmp_path):
        folder = write_image_folder(tmp_path, test=True)
        train, val, test = (ImageFolder(str(folder), split) for split in ('train', 'val', 'test'))
        assert (len(train), len(val), len(test)) == (40, 12, 12)
        assert all('/test/' in path for path in names(test))

    def test_an_item(self, folder):
        transforms = [dict(type='Resize', size=(16, 24), antialias=True)]
        dataset = ImageFolder(str(folder), 'train', transforms)
        item = dataset[0]
        assert item['inputs'].shape == (3, 16, 24) and item['inputs'].dtype == torch.uint8
        assert item['data_samples'].gt_label == 0
        assert item['data_samples'].img_path.endswith('.png')
        assert dataset.metainfo['classes'] == ('bright', 'dark')

    @pytest.mark.parametrize(
        'arguments, error, words',
        [
            (dict(split='vall'), ValueError, "split='vall'.*did you mean 'val'"),
            (dict(split='val', transforms=[dict(type='Rezise')]), ValueError, "'Resize'"),
        ],
    )
    def test_what_is_wrong_is_said(self, folder, arguments, error, words):
        with pytest.raises(error, match=words):
            ImageFolder(str(folder), **arguments)

    def test_a_missing_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='train does not exist; an image folder has'):
            ImageFolder(str(tmp_path), 'train')


def samples(labels):
    found = [BaseDataElement(metainfo=dict(img_path=f'{i}.png')) for i in range(len(labels))]
    for sample, label in zip(found, labels):
        sample.gt_label = torch.tensor(label)
    return found


class TestImageClassifier:
    def model(self, **changes):
        torch.manual_seed(0)
        arguments = dict(backbone=BACKBONE, num_classes=3, in_channels=64)
        model = ImageClassifier(**arguments | changes)
        model.init_weights()
        return model.eval()

    def test_modes_agree(self):
        model, x = self.model(), torch.randn(2, 3, 32, 32)
        logits = model(x)
        assert logits.shape == (2, 3)
        predicted = model(x, samples([0, 2]), mode='predict')
        assert torch.allclose(torch.stack([s.pred_score for s in predicted]), logits.softmax(1))
        assert [int(s.pred_label) for s in predicted] == logits.argmax(1).tolist()
        wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2]))
        assert torch.allclose(model(x, samples([0, 2]), mode='loss')['loss'], wanted)

    def test_logits_are_a_linear_map_of_the_mean_over_the_last_map(self):
        model, x = self.model(), torch.randn(1, 3, 32, 48)
        mean = model.backbone(x)[-1].flatten(2).mean(2)
        assert torch.allclose(model(x), mean @ model.head.weight.T + model.head.bias)

    def test_plain_vit(self):
        vit = dict(
            type='mkbackbones.ManifoldViT',
            arch=dict(embed_dims=16, depth=2, num_heads=2),
            pretrain_img_size=32,
        )
        model = self.model(backbone=vit, in_channels=16)
        loss = model.train()(torch.randn(2, 3, 32, 32), samples([0, 1]), mode='loss')['loss']
        loss.backward()
        assert model.backbone.patch_embed.proj.weight.grad.abs().sum() > 0


def test_accuracy():
    metric = Accuracy()
    scores = [[0.2, 0.8], [0.9, 0.1], [0.3, 0.7]]
    metric.process({}, [dict(pred_score=torch.tensor(s), gt_label=1) for s in scores])
    assert metric.evaluate(3) == {'accuracy/top1': pytest.approx(200 / 3)}


def test_names_resolve_from_any_scope():
    for registry, name in (
        (MODELS, 'ImageClassifier'),
        (DATASETS, 'ImageFolder'),
        (METRICS, 'Accuracy'),
    ):
        assert registry.parent.get(f'mkbackbones.{name}').__name__ == name
