import gc
import weakref

import pytest

from mkbackbones.garbage import collected_later


class Ring:
    """Refers to itself, so that a collection alone ends it."""

    def __init__(self):
        self.me = self


def test_nothing_is_looked_through_until_the_end():
    with collected_later():
        assert not gc.isenabled()
        ring = Ring()
        known = weakref.ref(ring)
        del ring
        with collected_later():
            pass
        assert not gc.isenabled()
    assert gc.isenabled() and known() is None


def test_an_error_ends_it():
    with pytest.raises(ValueError), collected_later():
        raise ValueError
    assert gc.isenabled()
