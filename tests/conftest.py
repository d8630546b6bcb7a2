"""Settings of all tests."""

import os
from collections.abc import Iterator

import mmengine.config.config as written
import pytest
import torch
from hypothesis import settings
from yapf.yapflib import yapf_api

pytest_plugins = ['tests.memory', 'tests.lacking']

# Without a GPU, Triton's kernels are run by its interpreter. Triton reads this when it is imported.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

# The same examples in every run: a change is judged by what it changes. To look for new
# counterexamples: HYPOTHESIS_PROFILE=default make test
# No deadline: a test may take its time on a busy machine.
settings.register_profile('repeatable', derandomize=True, database=None, deadline=None)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'repeatable'))


@pytest.fixture(scope='session', autouse=True)
def _configs_as_they_come() -> Iterator[None]:
    """Configs are written as valid Python that is not laid out for readers.

    Every runner writes its config, and the layout took a third of the time of a tiny test run.
    Processes of their own lay out as ever.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (yapf_api, written):  # older mmengine has a name of its own for it
            patch.setattr(module, 'FormatCode', lambda text, **unused: (text, True), raising=False)
        yield
