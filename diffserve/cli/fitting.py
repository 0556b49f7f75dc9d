"""Tables that fit narrow terminals: words and numbers stay whole, the least needed columns go."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table

GAP = 2
"""Blanks after each column."""


class FittingTable(Table):
    """A table without lines that leaves columns out where they do not all fit.

    Text wraps between words, and right-aligned cells, which are numbers with their units, not at
    all. Where even that has no room, cells are folded.
    """

    def __init__(self, spare: Sequence[str] = ()) -> None:
        """Make an empty table.

        Args:
            spare: Headers of columns that may be left out, the first to go first.
        """
        super().__init__(box=None, padding=(0, GAP, 0, 0), header_style="dim", show_edge=False)
        self._spare = spare

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the columns that fit, each as wide as it gets."""
        kept = [(column, _widths(console, options, column)) for column in self.columns]
        for name in self._spare:
            if sum(least + GAP for _, (least, _) in kept) <= options.max_width:
                break
            kept = [(column, widths) for column, widths in kept if column.header != name]
        fitted = Table(
            box=None,
            padding=(0, GAP, 0, 0),
            header_style=self.header_style,
            show_edge=False,
            show_header=self.show_header,
        )
        widths = fit([widths for _, widths in kept], options.max_width - GAP * len(kept))
        for (column, _), width in zip(kept, widths, strict=True):
            fitted.add_column(
                column.header, justify=column.justify, overflow=column.overflow, width=width
            )
        for cells in zip(*(column.cells for column, _ in kept), strict=True):
            fitted.add_row(*cells)
        yield fitted


def fit(widths: Sequence[tuple[int, int]], room: int) -> Sequence[int | None]:
    """Return the width of each column, the widest made narrower first.

    Args:
        widths: Of each column the least and the most that it can use, characters.
        room: For all of them.

    Returns:
        A width for each; None for each, where there is no room even for the least.
    """
    if sum(least for least, _ in widths) > room:
        return [None] * len(widths)
    given = [most for _, most in widths]
    while sum(given) > room:
        spare = [i for i, (least, _) in enumerate(widths) if given[i] > least]
        given[max(spare, key=lambda i: given[i])] -= 1
    return given


def _widths(console: Console, options: ConsoleOptions, column: Column) -> tuple[int, int]:
    """Return the least width that keeps words, or numbers, whole, and the most that is used."""
    header = Measurement.get(console, options, column.header)
    cells = [Measurement.get(console, options, cell) for cell in column.cells]
    most = max(size.maximum for size in (header, *cells))
    whole = [size.maximum if column.justify == "right" else size.minimum for size in cells]
    return max(header.minimum, *whole, min(column.min_width or 0, most)), most
