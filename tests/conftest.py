"""Settings of all tests."""

import os

from hypothesis import settings

# The same examples in every run: a change is judged by what it changes. To look for new
# counterexamples: HYPOTHESIS_PROFILE=default make test
settings.register_profile('repeatable', derandomize=True, database=None)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'repeatable'))
