"""Compare systems on the same utterances: ours, or anybody's."""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bench.core import cli
from bench.core.console import STDOUT, counting
from bench.core.errors import UserError
from bench.core.seeding import numpy_generator
from bench.results.kept import keep
from bench.results.pairs import (
    Outcome,
    assumptions,
    compare_pairs,
    rank_over_speakers,
    summarise,
)
from bench.results.refusal import check_comparable, leaks, unknown_facts
from bench.results.scored import aligned, claims_among
from bench.results.systems import read_systems
from bench.results.tables import (
    Cells,
    Comparison,
    as_csv,
    as_json,
    as_latex,
    as_markdown,
    matrix_cells,
    pair_cells,
    system_cells,
    verdicts,
)

FORMS = {"csv": as_csv, "markdown": as_markdown, "latex": as_latex}


def main(options: argparse.Namespace) -> None:
    """Read, align, test and print."""
    if options.json and options.form is not None:
        raise UserError(f"a comparison has one form, got --json and --{options.form}; name one")
    systems = read_systems(options.systems, options.ref)
    if len(systems) < 2:
        raise UserError(
            f"a comparison needs two systems, got {len(systems)} ({systems[0].name}); name another"
        )
    differing = check_comparable(systems, force=options.force)
    outcomes = aligned(systems, common=options.common)
    rng = numpy_generator(options.seed, "bootstrap")
    with counting("corpus") as progress:
        leakage = leaks(systems, progress)
    if options.save is not None:
        keep(systems, options.save, leakage=leakage, common=options.common)
    margin = min(s.margin for s in systems) if options.margin is None else options.margin / 100
    notes = dict.fromkeys(note for system in systems for note in system.notes)
    with counting("systems") as progress:
        pairs = compare_pairs(outcomes, rng, claims_among(systems), margin, progress)
    comparison = Comparison(
        systems=summarise(outcomes, rng),
        pairs=pairs,
        not_comparable=differing,
        leakage=leakage,
        notes=(*notes, *assumptions(outcomes), *unknown_facts(systems), *_ranks(outcomes)),
    )
    if options.json:
        cli.print_json(as_json(comparison))
    elif options.form is not None:
        print(FORMS[options.form](comparison))
    else:
        _print(comparison)


def _ranks(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Three systems or more as speakers see them, in a sentence; fewer have no such ranks."""
    num_speakers = outcomes[0].runs[0]["speaker"].nunique()
    if len(outcomes) < 3 or num_speakers < 2:
        return
    found = rank_over_speakers(outcomes)
    ranks = zip(found.average_ranks, (outcome.name for outcome in outcomes), strict=True)
    shown = ", ".join(f"{name} {average:.2f}" for average, name in sorted(ranks))
    yield (
        f"average ranks over {num_speakers} speakers: {shown} (Friedman p {found.p:.2g} for these "
        f"very runs, seeds not counted; closer than {found.critical_difference:.2f} may be chance)"
    )


def _print(comparison: Comparison) -> None:
    for stamp in comparison.stamps:
        STDOUT.print(f"{stamp}\n", style="bold", markup=False)
    _print_table(system_cells(comparison))
    _print_table(pair_cells(comparison))
    if len(comparison.systems) > 2:
        STDOUT.print("\npoints of WER, row minus column; * differ, = equivalent")
        _print_table(matrix_cells(comparison))
    STDOUT.print()
    for line in (*verdicts(comparison), *comparison.notes):
        STDOUT.print(line, markup=False)


def _print_table(cells: Cells) -> None:
    header, rows = cells
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(header):
        # As Text: a name in brackets is no markup.
        table.add_column(Text(name), justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    table.width = Measurement.get(STDOUT, STDOUT.options.update_width(1000), table).maximum
    STDOUT.print(table, crop=False)


def _margin(text: str) -> float:
    try:
        margin = float(text)
    except ValueError:
        margin = math.nan
    if not 0 < margin < 100:
        raise argparse.ArgumentTypeError(
            f"a margin is above 0 and below 100 points of WER, got {text!r}; write for instance 2"
        )
    return margin


def build_parser() -> argparse.ArgumentParser:
    """The flags of `python -m bench.compare`."""
    parser = cli.parser(
        "compare",
        "Compare systems on the same test utterances: studies (each variant is a system), runs (a "
        "folder or an MLflow run id), JSON lines of any recogniser (text, pred_text), trn "
        "files, or a comparison that --save kept.",
        "out/cells.an4.quick.1a2b3c4d",
        "ours.jsonl theirs.jsonl --markdown",
        "--ref ref.trn a.trn b.trn",
    )
    parser.add_argument("systems", nargs="+", metavar="SYSTEM", help="two systems, or a study")
    parser.add_argument(
        "--ref", type=Path, metavar="TRN", help="the reference; the systems are trn files then"
    )
    parser.add_argument(
        "--common", action="store_true", help="leave out utterances that some system lacks"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="compare what differs in data, budget or scoring too; the numbers are stamped",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="keep the comparison in a small file that this command reads: words as numbers",
    )
    form = parser.add_mutually_exclusive_group()
    for name in FORMS:
        form.add_argument(f"--{name}", action="store_const", const=name, dest="form")
    parser.add_argument(
        "--margin",
        type=_margin,
        metavar="POINTS",
        help="systems closer than this in WER are equivalent (default: as their study says, or 2)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the bootstrap, for test sets of fewer than ten speakers (default: 0)",
    )
    return parser


if __name__ == "__main__":
    cli.run(build_parser(), main)
