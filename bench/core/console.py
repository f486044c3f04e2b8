"""What the user sees while a command works: log lines and progress bars on stderr, results on
stdout."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench.core.masking import MaskingFormatter

STDERR = Console(stderr=True)
STDOUT = Console(soft_wrap=True, highlight=False)

ProgressCallback = Callable[[int, int], None]
"""``progress(done, total)``: how library code reports a long step without knowing the terminal."""


def set_up_logging(verbosity: int) -> None:
    """Log to stderr; -1 warnings only, 0 what happens, 1 details of ours, 2 details of everyone."""
    level = {-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG)
    handler: logging.Handler
    if STDERR.is_terminal:
        handler = RichHandler(console=STDERR, show_path=False, show_level=verbosity > 0)
        handler.setFormatter(MaskingFormatter())
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(MaskingFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.DEBUG if verbosity >= 2 else logging.WARNING)
    logging.getLogger("bench").setLevel(level)
    # It says of each attempt that it failed; who asked says what came of all of them.
    logging.getLogger("urllib3").setLevel(logging.DEBUG if verbosity >= 2 else logging.ERROR)


def progress_bars() -> Progress:
    """Bars with the time that is left; invisible where stderr is no terminal or -q was given."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=STDERR,
        transient=True,
        disable=not STDERR.is_terminal or not logging.getLogger("bench").isEnabledFor(logging.INFO),
    )


@contextmanager
def counting(description: str) -> Iterator[ProgressCallback]:
    """A bar for one step of known length, as the callback that library code takes."""
    bars = progress_bars()
    bars.columns = (*bars.columns[:3], MofNCompleteColumn(), *bars.columns[3:])
    with bars:
        task = bars.add_task(description, total=None)

        def update(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield update
