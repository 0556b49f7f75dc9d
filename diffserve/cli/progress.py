"""The bar that long commands show."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from diffserve.cli.output import stderr


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, where that is a terminal.

    Args:
        title: What is being done.

    Yields:
        Tells the bar how much is done, and how much there is in all.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    left = TimeRemainingColumn()
    console = stderr()
    is_shown = console.is_terminal
    with Progress(*columns, left, console=console, transient=True, disable=not is_shown) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
