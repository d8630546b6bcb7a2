"""From any naming that is read to any that is written, with the report of loading."""

from torch import Tensor

from .read import read_weights
from .report import CheckpointError, Report
from .write import write_weights


def convert_weights(
    state: dict[str, Tensor],
    naming: str,
    source: str = 'the state dict',
    prefix: str | None = None,
    strict: bool = False,
) -> tuple[dict[str, Tensor], Report]:
    """Translate a backbone's weights into a library's naming.

    Args:
        state (dict[str, Tensor]): Weights of a backbone, or of a model with one.
        naming (str): ``timm``, ``official``, ``mmdet``, ``mmseg`` or ``mmpretrain``.
        source (str): What was read, for the report.
        prefix (str, optional): What the backbone's names start with; found if left out.
        strict (bool): Raise if an entry of the backbone is unknown.

    Returns:
        tuple[dict[str, Tensor], Report]: Weights that the library's own backbone loads strictly,
        and what was left out.

    Raises:
        CheckpointError: If the weights cannot be read, or the naming cannot hold them.
    """
    weights = read_weights(state, prefix)
    written = write_weights(weights, naming)
    report = Report(source, weights.naming, f'{naming} naming', entries=weights.entries)
    report.total = len(weights.state) + len(weights.unknown)
    left_out = [e for e in report.entries if e.name in weights.state and e.status == 'dropped']
    report.loaded = len(weights.state) - len(left_out)
    if strict and report.problems:
        raise CheckpointError(f'not every entry has a place (--strict)\n{report}')
    return written, report
