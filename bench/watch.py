"""Show the progress of a study while it runs."""

from bench.core import cli
from bench.flags.watch import build_parser

if __name__ == "__main__":
    cli.start("watch", build_parser())  # before the imports below: they take seconds

import argparse
import time
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.core.console import STDOUT
from bench.results.progress import ProgressReader, RunProgress, StudyProgress
from bench.results.study import chosen_studies

EVERY_SECONDS = 1.0
SILENT_SECONDS = 120.0
"""A run without a new record for this long may have lost its worker."""

BLOCKS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 16
MAX_MARKS = 40
SYMBOLS = {
    "finished": "●", "cut": "◐", "pruned": "✂", "diverged": "↯", "failed": "✗", "running": "▶",
    "paused": "◇", "killed": "‖", "waiting": "·",
}  # fmt: skip


def main(options: argparse.Namespace) -> None:
    """Show the study until it has ended, or once with ``--once`` or ``--json``."""
    folder, *_ = chosen_studies([options.study] if options.study else [], "watch")
    reader = ProgressReader(folder)
    progress = reader.read()
    if options.json:
        cli.print_json(progress.as_json())
        return
    if options.once:
        STDOUT.print(draw(progress))
        return
    with Live(draw(progress), console=STDOUT, auto_refresh=False) as live:
        while not progress.is_over:
            time.sleep(EVERY_SECONDS)
            progress = reader.read()
            live.update(draw(progress), refresh=True)


def draw(progress: StudyProgress) -> RenderableType:
    """The display: progress, the slots of each system, the runs in progress."""
    running = progress.running
    parts: list[RenderableType] = [_headline(progress), *_round(progress), _systems(progress)]
    if running:
        parts.append(_runs(running))
    if running and all((run.silent_seconds or 0) > SILENT_SECONDS for run in running):
        parts.append(Text("No new records: if the sweep was stopped, run it again.", "bold"))
    parts.append(Text("  ".join(f"{mark} {state}" for state, mark in SYMBOLS.items()), "dim"))
    return Group(*parts)


def curve(values: tuple[float, ...], width: int = CURVE_WIDTH) -> str:
    """`values` as block characters, scaled to their maximum; at most `width` of them.

    Of more values than that, each block shows the last of a group of equal size.
    """
    #     values    9 8 7 6 5 4 3     width 3
    #     shown       8     6       3         the last of each group, so that the newest is there
    num_shown = min(width, len(values))
    shown = [values[(i + 1) * len(values) // num_shown - 1] for i in range(num_shown)]
    top = max(shown, default=0.0) or 1.0
    return "".join(BLOCKS[round(value / top * (len(BLOCKS) - 1))] for value in shown)


def duration(seconds: float | None) -> str:
    """Such as ``1 h 05 min``, ``12 min``, ``40 s``; a dash if unknown."""
    if seconds is None:
        return "–"
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if seconds >= 60 else f"{seconds:.0f} s"


def _headline(progress: StudyProgress) -> Text:
    text = Text(progress.study, "bold")
    text.append(f"  {progress.num_ended} of {progress.num_planned} runs ended", "not bold")
    left = "over" if progress.is_over else f"about {duration(progress.seconds_left)} left"
    if progress.seconds_left is None:
        left = "time left is not known yet"
    return text.append(f", {left}", "not bold")


def _round(progress: StudyProgress) -> Iterator[Text]:
    """Where a study with planned looks is."""
    found = progress.round
    if found is None:
        return
    seeds = sorted(set(found.seeds.values()))
    upto = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    line = f"round {found.number}: {upto} seeds, {found.most_seeds} at most"
    if found.num_pairs:
        line += f"; {found.num_decided} of {found.num_pairs} pairs decided"
    yield Text(line + (", the last look was taken" if found.is_last else ""))
    if found.last_look:
        yield Text(found.last_look, "dim")


def _systems(progress: StudyProgress) -> Table:
    table = _table("system", "search", "best valid WER", "fresh seeds", "best valid WER")
    for system in dict.fromkeys(run.system for run in progress.runs):
        cells: list[str] = []
        for kind in ("trial", "confirm"):
            runs = progress.of(system, kind)
            cells += [_marks([run.state for run in runs]), _percent(progress.best(system, kind))]
        table.add_row(*(Text(cell) for cell in (system, *cells)))
    return table


def _marks(states: list[str]) -> str:
    """One symbol for each run; for more than MAX_MARKS runs, the count of each symbol."""
    if len(states) <= MAX_MARKS:
        return "".join(SYMBOLS[state] for state in states) or "nothing to confirm"
    counts = ((states.count(state), mark) for state, mark in SYMBOLS.items())
    return " ".join(f"{count}{mark}" for count, mark in counts if count)


def _runs(runs: list[RunProgress]) -> Table:
    table = _table("in progress", "epoch", "loss", "valid WER", "its curve", "time", "last sign")
    for run in runs:
        cells = (
            f"{run.system} {run.kind} {run.slot}",
            f"{run.epoch:.1f} of {run.num_epochs}",
            "–" if run.loss is None else f"{run.loss:.2f}",
            _percent(run.valid_wers[-1] if run.valid_wers else None),
            curve(run.valid_wers),
            duration(run.seconds),
            f"{duration(run.silent_seconds)} ago",
        )
        table.add_row(*map(Text, cells))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        numeric = column in ("epoch", "loss", "valid WER", "best valid WER", "time", "last sign")
        table.add_column(column, justify="right" if numeric else "left")
    return table


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f} %"
