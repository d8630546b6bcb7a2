"""When the kernels serve, and what is said when they do not."""

import pytest
import torch

from mkbackbones.kernels import support


class OnGPU:
    """What ``fused_dtype`` asks of a tensor."""

    is_cuda = True
    device = torch.device('cuda', 0)

    def __init__(self, dtype):
        self.dtype = dtype


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """A GPU with Triton, and nothing said yet."""
    monkeypatch.setattr(support, 'missing', '')
    monkeypatch.delenv(support.SWITCH, raising=False)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: 'a GPU')
    said = []
    monkeypatch.setattr(support, 'print_log', lambda message, **kwargs: said.append(message))
    for function in (support.enabled, support.report):
        function.cache_clear()
    yield said
    for function in (support.enabled, support.report):
        function.cache_clear()


def test_half_precision_on_a_gpu_is_served(gpu):
    assert support.fused_dtype(OnGPU(torch.bfloat16)) == torch.bfloat16
    assert support.fused_dtype(OnGPU(torch.float32)) is None
    assert not gpu


def test_autocast_decides(gpu, monkeypatch):
    monkeypatch.setattr(support, 'is_autocast_enabled', lambda device: True)
    monkeypatch.setattr(support, 'autocast_dtype', lambda device: torch.float16)
    assert support.fused_dtype(OnGPU(torch.float32)) == torch.float16


def test_the_cpu_is_not_served_and_hears_nothing(gpu):
    assert support.fused_dtype(torch.zeros(1, dtype=torch.bfloat16)) is None
    assert not gpu


@pytest.mark.parametrize(
    'change, reason',
    [
        (lambda patch: patch.setattr(support, 'missing', 'no Triton'), 'no Triton'),
        (lambda patch: patch.setenv(support.SWITCH, '0'), support.SWITCH),
        (
            lambda patch: patch.setattr(torch.cuda, 'get_device_capability', lambda index: (7, 5)),
            'a GPU',
        ),
    ],
)
def test_falls_back_with_one_line(gpu, monkeypatch, change, reason):
    change(monkeypatch)
    for _ in range(2):
        assert support.fused_dtype(OnGPU(torch.bfloat16)) is None
    assert len(gpu) == 1 and reason in gpu[0]


def test_exports_take_plain_pytorch(gpu, monkeypatch):
    monkeypatch.setattr(support, 'is_exporting', lambda: True)
    assert support.fused_dtype(OnGPU(torch.bfloat16)) is None


def test_hooks_of_all_modules_see_each_call(gpu):
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *args: None)
    for _ in range(2):
        assert support.fused_dtype(OnGPU(torch.bfloat16)) is None
    handle.remove()
    assert support.fused_dtype(OnGPU(torch.bfloat16)) == torch.bfloat16
    assert len(gpu) == 1 and 'global module hooks' in gpu[0]
