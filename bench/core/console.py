"""Terminal output: log lines and progress bars on stderr, results on stdout."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, JustifyMethod
from rich.logging import RichHandler
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from bench.core.masking import MaskingFormatter

STDERR = Console(stderr=True)
STDOUT = Console(soft_wrap=True, highlight=False)

ProgressCallback = Callable[[int, int], None]
"""``progress(done, total)``: called by library code during a long step."""


def ticker(progress: ProgressCallback | None, total: int) -> Callable[[int], None]:
    """A function to call with the number of items done since its last call; it reports to
    `progress` how many of `total` are done."""
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress and count:
            progress(done, total)

    return tick


def set_up_logging(verbosity: int) -> None:
    """Log to stderr: -1 warnings only, 0 progress, 1 details of bench, 2 details of libraries."""
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
    # urllib3 warns of each failed attempt; the caller reports the result of all attempts.
    logging.getLogger("urllib3").setLevel(logging.DEBUG if verbosity >= 2 else logging.ERROR)


def progress_bars() -> Progress:
    """Bars with the remaining time; hidden if stderr is no terminal, or with -q."""
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


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], num_left: int = 1) -> None:
    """A table on stdout, its first `num_left` columns aligned left: never cut or wrapped, though it
    may be wider than the terminal or the 80 columns of a pipe."""
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(header):
        # As Text, so that a name in brackets is not read as markup.
        side: JustifyMethod = "left" if place < num_left else "right"
        table.add_column(Text(name), justify=side, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    # What it takes unwrapped, where rich would fit it to the terminal.
    table.width = Measurement.get(STDOUT, STDOUT.options.update_width(1000), table).maximum
    STDOUT.print(table, crop=False)


def print_error(message: str) -> None:
    """One line on stderr."""
    STDERR.print(f"error: {message}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def counting(description: str) -> Iterator[ProgressCallback]:
    """A bar for one step; yields the ProgressCallback that updates it."""
    bars = progress_bars()
    bars.columns = (*bars.columns[:3], MofNCompleteColumn(), *bars.columns[3:])
    with bars:
        task = bars.add_task(description, total=None)

        def update(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield update
