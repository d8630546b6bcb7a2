"""The answer to a call of an operator that this package does not cover."""


def not_covered(what: str) -> NotImplementedError:
    """Build the error for an operator, or a mode of one, that only compiled mmcv has.

    Args:
        what (str): The operator's name, with the mode if only that is missing.
    """
    return NotImplementedError(
        f'mkbackbones has no replacement for the mmcv operator {what}; build mmcv with its '
        'compiled operators: MMCV_WITH_OPS=1 pip install --no-deps --no-build-isolation '
        '--no-binary :all: --force-reinstall onedl-mmcv (or mmcv, whichever you have).'
    )
