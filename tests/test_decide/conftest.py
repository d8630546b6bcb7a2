import pytest


@pytest.fixture
def at_scores(monkeypatch):
    """Thresholds stay at the score of the image that they were chosen by."""
    monkeypatch.setattr(
        'mkbackbones.decide.thresholds.set_apart', lambda threshold, score: threshold
    )
