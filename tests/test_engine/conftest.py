import pytest
from mmengine.config import Config

from .tiny import write_images


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    """Six images with boxes and class maps."""
    return write_images(tmp_path_factory.mktemp('tiny') / 'images')


@pytest.fixture(autouse=True)
def plain_config_texts(monkeypatch):
    """Checkpoints note the config's text; formatting it takes longer than the training here."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda config: repr(config)))
