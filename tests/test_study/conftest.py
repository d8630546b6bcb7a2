"""What the tests of studies share."""

from collections.abc import Iterator

import pytest

from mkbackbones.study.run.executors import LocalExecutor


@pytest.fixture(scope='session')
def executor() -> Iterator[LocalExecutor]:
    """Two workers at a time, all forked from one process, which imports the libraries once."""
    found = LocalExecutor(2, [], warm=True)
    yield found
    found.close()
