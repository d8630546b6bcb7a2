"""A study as runs leave it on disk, without a single training: made-up, but consistent, numbers."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

from mkbackbones.datasets import SyntheticDefects
from mkbackbones.datasets.writer import write_dataset
from mkbackbones.study.evidence import (
    ClassificationEvidence,
    DetectionEvidence,
    SegmentationEvidence,
)
from mkbackbones.study.records.results import ArmInfo, RunResult, StudyInfo, TaskInfo

CLASSES = list(SyntheticDefects.classes)
ARMS = {
    'stock': ('stock key', 'baseline'),
    'mlp': ('MLPK, same parameters', 'control'),
    'spatial': ('SpatialK, 8 charts', 'candidate'),
    'vanilla': ('VanillaK', 'candidate'),
    'kua': ('KuaK', 'candidate'),
    'simple': ('SimpleK, 4 charts', 'candidate'),
}
TASKS = {
    'classification': ('classification', 'top1'),
    'detection': ('detection', 'AP'),
    'instances': ('instance-segmentation', 'AP'),
    'segmentation': ('segmentation', 'mIoU'),
}
CONFIG = """
custom_imports = dict(imports=['mkbackbones'])
default_scope = {scope!r}
test_dataloader = dict(dataset={dataset!r})
"""


class FakeStudy:
    """Writes a study of given size into a folder.

    Args:
        folder (Path): Where to; data go to ``folder / 'data'``.
        arms (int): How many of ARMS.
        tasks (list[str]): Which of TASKS.
        seeds (int): How many.
        images (int): Test images.
        gain (float): How much better the candidates are.
    """

    def __init__(self, folder, arms=2, tasks=('detection',), seeds=3, images=24, gain=0.15):
        self.folder, self.images, self.gain = Path(folder), images, gain
        self.arms = dict(list(ARMS.items())[: arms + 1])
        if arms == 2:
            self.arms = {key: ARMS[key] for key in ('stock', 'spatial')}
        self.seeds = list(range(seeds))
        self.data = self.folder / 'data'
        write_dataset(SyntheticDefects(dict(train=1, val=1, test=images), size=64), self.data)
        self.coco = COCO(str(self.data / 'annotations/test.json'))
        self.files = [entry['file_name'] for entry in self.coco.dataset['images']]
        self.tasks = {key: self.about(key) for key in tasks}
        self.write_info()

    def about(self, task):
        kind, primary = TASKS[task]
        classes = sorted(CLASSES) if kind == 'classification' else CLASSES
        classes = ['background', *CLASSES] if kind == 'segmentation' else classes
        counts = dict(train=240, val=60, test=self.images)
        settings = {'config': f'{task}.py', 'batch size': '8', 'augmentation': 'Resize, RandomFlip'}
        return TaskInfo(kind, primary, classes, counts, str(self.data), settings)

    def write_info(self, **changes):
        facts = dict(
            name='fake',
            question='Does <b>anything</b> differ & by how much?',
            arms={
                key: ArmInfo(*about, {'key_cfg': {'type': key}} if key != 'stock' else {})
                for key, about in self.arms.items()
            },
            tasks=self.tasks,
            seeds=self.seeds,
            budget='500 iterations; the same for every arm',
            initial_weights='scratch',
            learning_rates='shared by all arms; 0.001',
            fairness=['The runs of one seed share the order of the images.'],
            environment={'torch': '2.14.1', 'commit': 'abc', 'data of detection': '0123'},
            config='name = "fake"\n# <script>alert(1)</script>\n',
        )
        info = StudyInfo(**facts | changes)
        (self.folder / 'study.json').write_text(json.dumps(asdict(info)))

    def run_all(self, skip=()):
        for task in self.tasks:
            for arm in self.arms:
                for seed in self.seeds:
                    if (task, arm, seed) not in skip:
                        self.run(task, arm, seed)
        return self.folder

    def run(self, task, arm, seed):
        """Write all that a finished run leaves."""
        about = self.tasks[task]
        index = list(self.arms).index(arm)
        rng = np.random.default_rng([seed, index, list(TASKS).index(task)])
        folder = self.folder / 'runs' / task / arm / f'seed{seed}'
        (folder / 'predictions').mkdir(parents=True)
        skill = 0.55 + rng.normal(0, 0.03) + self.gain * (self.arms[arm][1] == 'candidate')
        write = {
            'classification': self.classify,
            'detection': self.detect,
            'instance-segmentation': self.detect,
            'segmentation': self.segment,
        }[about.kind]
        evidence, scope, dataset = write(about, folder, skill, rng)
        if hasattr(evidence, 'good_scores'):
            evidence.good_scores = rng.uniform(0, 0.9, 120)  # of validation
        evidence.save(folder / 'evidence.npz')
        (folder / 'config.py').write_text(CONFIG.format(scope=scope, dataset=dataset))
        config = {'default_scope': scope, 'test_dataloader': {'dataset': dataset}}
        (folder / 'config.json').write_text(json.dumps(config))
        metrics = evidence.metrics(about.classes)
        steps = np.arange(1, 501)
        loss = 0.4 + 2 * np.exp(-steps / (150 - 10 * index)) + rng.normal(0, 0.1, 500)
        curve = [[i, metrics[about.primary] * (1 - np.exp(-i / 150))] for i in range(50, 501, 50)]
        cost = 1 + 0.06 * index
        RunResult(
            task, arm, seed, metrics, curve, loss.tolist(), 450, 1e-3,
            parameters=int(28e6 * cost), flops=int(9e9 * (1 + 0.1 * index)),
            step_seconds=0.2 * cost + rng.normal(0, 0.002), train_seconds=100 * cost,
            inference_seconds=0.03 * cost, peak_memory=int(3e9 * cost),
            environment={'torch': '2.14.1', 'device': 'NVIDIA H100', 'commit': 'abc'},
        ).save(folder / 'result.json')  # fmt: skip

    def groups(self, names):
        return [f'strip {i}' for i in range(len(names))]

    def classify(self, about, folder, skill, rng):
        root = self.data / 'folder'
        if not root.exists():
            for i, name in enumerate(self.files):
                for split in ('train', 'val', 'test'):
                    target = root / split / CLASSES[i % len(CLASSES)]
                    target.mkdir(parents=True, exist_ok=True)
                    image = Image.open(self.data / 'images/test' / name)
                    image.save(target / f'{i}.png')
        labels = np.arange(len(self.files)) % len(CLASSES)
        labels = np.array([about.classes.index(CLASSES[k]) for k in labels])
        images = [f'{about.classes[k]}/{i}' for i, k in enumerate(labels)]
        scores = rng.dirichlet(np.full(len(CLASSES), 0.4), len(images))
        scores = (1 - skill) * scores + skill * 0.6 * np.eye(len(CLASSES))[labels] + 0.02
        scores /= scores.sum(1, keepdims=True)
        evidence = ClassificationEvidence(images, self.groups(images), labels, scores)
        return evidence, 'mmengine', dict(
            type='mkbackbones.ImageFolder', data_root=str(root), split='test'
        )  # fmt: skip

    def detect(self, about, folder, skill, rng):
        masks = about.kind == 'instance-segmentation'
        results, drawn = [], {name: [] for name in self.files}
        labels = {c['id']: CLASSES.index(c['name']) for c in self.coco.dataset['categories']}
        for truth in self.coco.dataset['annotations']:
            if rng.random() > skill + 0.2:
                continue
            box = np.array(truth['bbox']) + rng.normal(0, 3 * (1 - skill), 4)
            found = dict(image_id=truth['image_id'], category_id=truth['category_id'])
            found |= dict(bbox=np.maximum(box, 1).tolist(), score=float(rng.uniform(0.4, 1)))
            if masks:
                found['segmentation'] = self.coco.annToRLE(truth)
                if isinstance(found['segmentation']['counts'], bytes):
                    found['segmentation']['counts'] = found['segmentation']['counts'].decode()
            results.append(found)
            name = self.coco.imgs[truth['image_id']]['file_name']
            drawn[name].append(found | {'label': labels[truth['category_id']]})
        for name, items in drawn.items():
            (folder / f'predictions/{Path(name).stem}.json').write_text(json.dumps(items))
        evidence = DetectionEvidence.from_coco(
            self.coco, results, dict(zip(self.files, self.groups(self.files))), CLASSES,
            'segm' if masks else 'bbox',
        )  # fmt: skip
        return evidence, 'mmdet', dict(
            type='mkbackbones.SyntheticDetDataset', data_root=str(self.data),
            ann_file='annotations/test.json', data_prefix=dict(img='images/test/'), test_mode=True,
            pipeline=[],
        )  # fmt: skip

    def segment(self, about, folder, skill, rng):
        count = len(about.classes)
        confusion, top, defective = [], [], []
        for name in self.files:
            stem = Path(name).stem
            truth = np.asarray(Image.open(self.data / f'masks/test/{stem}.png')).astype(int)
            wrong = rng.random(truth.shape) > 0.9
            predicted = np.where(wrong & (truth > 0) & (rng.random() > skill), 0, truth)
            if rng.random() > skill + 0.1:
                predicted[:10, :10] = rng.integers(1, count)
            Image.fromarray(predicted.astype(np.uint8)).save(folder / f'predictions/{stem}.png')
            counts = np.bincount(count * truth.ravel() + predicted.ravel(), minlength=count**2)
            confusion.append(counts.reshape(count, count))
            defective.append(bool(truth.any()))
            top.append(0.5 * rng.random() + 0.4 * skill * defective[-1])
        stems = [Path(name).stem for name in self.files]
        evidence = SegmentationEvidence(
            stems, self.groups(stems), np.stack(confusion), np.array(top), np.array(defective)
        )
        return evidence, 'mmseg', dict(
            type='mkbackbones.SyntheticSegDataset', data_root=str(self.data), pipeline=[],
            data_prefix=dict(img_path='images/test', seg_map_path='masks/test'), test_mode=True,
        )  # fmt: skip
