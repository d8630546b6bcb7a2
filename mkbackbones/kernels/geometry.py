"""Where tokens lie: on a grid that may be padded, shifted and cut into windows."""

from collections.abc import Sequence
from typing import NamedTuple


class Geometry(NamedTuple):
    """A grid of tokens and the windows it is cut into.

    Attributes:
        height (int): Rows of tokens H; 1 for tokens (B, N, C) that lie on no grid.
        width (int): Columns of tokens W; then N.
        window (int): Window side w, in tokens; 0 for no windows: rows of memory as they are.
        shift (int): Cyclic shift of the grid, in tokens.
    """

    height: int
    width: int
    window: int = 0
    shift: int = 0

    @property
    def rows(self) -> int:
        """Rows of windows, the last one padded where it is not full."""
        return -(-self.height // self.window)

    @property
    def columns(self) -> int:
        """Columns of windows, the last one padded where it is not full."""
        return -(-self.width // self.window)

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of the grid padded to whole windows."""
        if not self.window:
            return self.height, self.width
        return self.rows * self.window, self.columns * self.window

    def window_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape (B nW, w^2, C) of the windows of tokens (B, H, W, C); without windows as it is."""
        if not self.window:
            return tuple(shape)
        return shape[0] * self.rows * self.columns, self.window**2, shape[-1]
