"""What is wrong with a config or with what it names."""


class InputError(Exception):
    """Bad input, told in one sentence; a command ends with it, a study names the task."""
