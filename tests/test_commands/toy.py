"""A project that trains in a second: one linear layer, mmengine alone, no data on disk."""

from pathlib import Path

MODULE = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x, mode='tensor'):
        y = self.layer(torch.stack(list(x)).to(self.layer.weight.device))
        if mode == 'loss':
            return {'loss': y.float().square().mean(), 'bits': torch.tensor(y.element_size() * 8.0)}
        return [{'y': value, 'seg_logits': value} for value in y]


@DATASETS.register_module()
class ToyData(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {'x': torch.full((2,), float(index))}


@METRICS.register_module()
class ToyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(float(sample['y']) for sample in data_samples)

    def compute_metrics(self, results):
        return {'mean': sum(results) / len(results), 'count': len(results)}
"""

CONFIG = """
custom_imports = dict(imports=['mk_toy'])
model = dict(type='ToyModel')
data = dict(type='ToyData')
train_dataloader = dict(
    batch_size=2, dataset=data, sampler=dict(type='DefaultSampler', shuffle=True)
)
test_dataloader = dict(
    batch_size=2, dataset=data, sampler=dict(type='DefaultSampler', shuffle=False)
)
train_cfg = dict(by_epoch=True, max_epochs=1)
test_cfg = dict()
test_evaluator = dict(type='ToyMetric')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
"""


def write_toy(folder: Path) -> Path:
    """Write the module ``mk_toy`` and its config into ``folder``; return the config's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'mk_toy.py').write_text(MODULE)
    config = folder / 'mk_toy_config.py'
    config.write_text(CONFIG)
    return config
