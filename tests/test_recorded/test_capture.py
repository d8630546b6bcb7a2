"""What surrounds a recording on a GPU, looked at without one."""

import gc
from contextlib import nullcontext

import pytest
import torch

from mkbackbones.recorded.capture import CudaGraphs

GIB = 2**30


@pytest.fixture
def graphs(monkeypatch):
    """Graphs on a GPU of 10 GiB, of which others have two."""
    monkeypatch.setattr(torch.cuda, 'graph_pool_handle', lambda: 0)
    monkeypatch.setattr(torch.cuda, 'CUDAGraph', lambda: None)
    monkeypatch.setattr(torch.cuda, 'device', lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, 'graph', lambda graph, **settings: nullcontext())
    monkeypatch.setattr('mkbackbones.recorded.capture.free_generator', lambda device: None)
    memory = dict(memory_reserved=3, memory_allocated=2, max_memory_allocated=4)
    for name in memory:
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: memory[name] * GIB)
    left = lambda device: ((8 - memory['memory_reserved']) * GIB, 10 * GIB)  # noqa: E731
    monkeypatch.setattr(torch.cuda, 'mem_get_info', left)
    made = CudaGraphs(torch.device('cuda', 0))
    made.memory = memory
    return made


def test_no_garbage_is_looked_for_while_recording(graphs):
    """A graph that is garbage, destroyed meanwhile, has ended a recording."""
    assert gc.isenabled()
    with graphs.recording(None):
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), graphs.recording(None):
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with graphs.recording(None):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_the_rest_of_a_step_takes_counts(graphs):
    assert graphs.held() == (3 + 4 - 2) / 8
    graphs.memory['max_memory_allocated'] = 2  # a line of the log starts anew
    assert graphs.held() == (3 + 4 - 2) / 8
    graphs.memory['memory_reserved'] = 7
    assert graphs.held() == (7 + 4 - 2) / 8
