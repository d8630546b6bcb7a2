"""Settings of all tests."""

import os

import torch
from hypothesis import settings

pytest_plugins = ['tests.memory', 'tests.lacking']

# Without a GPU, Triton's kernels are run by its interpreter. Triton reads this when it is imported.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

# The same examples in every run: a change is judged by what it changes. To look for new
# counterexamples: HYPOTHESIS_PROFILE=default make test
# No deadline: a test may take its time on a busy machine.
settings.register_profile('repeatable', derandomize=True, database=None, deadline=None)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'repeatable'))
