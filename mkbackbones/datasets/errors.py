"""What is wrong with a source of images and annotations."""

__all__ = ['DatasetError', 'FileFault']

_LONGEST = 1500


class DatasetError(ValueError):
    """A source that cannot be converted; the message names the file and what is wrong with it.

    Args:
        message (str): One sentence. What it quotes of a file may hold line ends, or be of any
            length: it is brought to one line of some hundred characters.
    """

    def __init__(self, message: str = '') -> None:
        line = ' '.join(str(message).splitlines())
        super().__init__(line if len(line) <= _LONGEST else f'{line[:_LONGEST]}...')


class FileFault(DatasetError):
    """A fault of a single image or of its annotation, which ``skip_bad`` would leave out."""
