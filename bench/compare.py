"""Compare systems on the same utterances: studies, runs, or transcripts of other recognisers."""

from bench.core import cli
from bench.flags.compare import build_parser

if __name__ == "__main__":
    cli.start("compare", build_parser())  # before the imports below: they take seconds

import argparse
import logging
from collections.abc import Iterator, Sequence

from bench.core.console import STDOUT, counting, print_table
from bench.core.errors import NoVerdictError, UserError
from bench.core.seeding import numpy_generator
from bench.results.comparability import (
    check_comparable,
    differing_costs,
    differing_training,
    leaks,
    left_out_of_corpora,
    unknown_facts,
)
from bench.results.counts import SystemRuns
from bench.results.groups import by_group
from bench.results.looks import judged
from bench.results.pairs import assumptions, rank_over_speakers
from bench.results.saved_comparison import save_comparison
from bench.results.scored import (
    ScoredSystem,
    aligned,
    attributes_of,
    claims_among,
    left_out,
    margin_among,
    planned_among,
)
from bench.results.systems import read_systems
from bench.results.tables import (
    Comparison,
    as_csv,
    as_json,
    as_latex,
    as_markdown,
    gain_cells,
    group_cells,
    matrix_cells,
    pair_cells,
    system_cells,
    verdicts,
)

FORMS = {"csv": as_csv, "markdown": as_markdown, "latex": as_latex}

_logger = logging.getLogger("bench.compare")  # run with -m, __name__ is "__main__"


def main(options: argparse.Namespace) -> None:
    """Read the systems, align their utterances, test the differences, print the results."""
    if options.json and options.form is not None:
        raise UserError(f"a comparison has one form, got --json and --{options.form}; name one")
    systems = read_systems(
        options.systems, options.ref, common=options.common, by_name=options.match_by == "name"
    )
    no_verdict = " ".join(filter(None, (system.no_verdict for system in systems)))
    if len(systems) < 2:
        if no_verdict:
            raise NoVerdictError(no_verdict)
        raise UserError(
            f"a comparison needs two systems, got {len(systems)} ({systems[0].name}); name another"
        )
    differing = check_comparable(systems, force=options.force)
    system_runs = aligned(systems, common=options.common)
    rng = numpy_generator(options.seed, "bootstrap")
    with counting("corpus") as progress:
        leakage = leaks(systems, progress)
    if options.save is not None:
        save_comparison(systems, options.save, leakage=leakage, common=options.common)
    warnings = tuple(_warnings(systems))
    margin = margin_among(systems) if options.margin is None else options.margin / 100
    planned, not_counted = planned_among(systems, margin)
    notes = dict.fromkeys(note for system in systems for note in system.notes)
    with counting("systems") as progress:
        claims = claims_among(systems)
        rates, pairs = judged(system_runs, rng, claims, margin, planned, progress)
    groups, gains = (
        (None, None)
        if options.by is None
        else by_group(system_runs, attributes_of(systems), options.by)
    )
    comparison = Comparison(
        groups=groups,
        gains=gains,
        systems=rates,
        pairs=pairs,
        not_comparable=differing,
        cautions=(*differing_training(systems), *not_counted),
        leakage=leakage,
        notes=(
            *warnings,
            *left_out_of_corpora(systems),
            *notes,
            *assumptions(system_runs),
            *([planned.sentence] if planned is not None else []),
            *unknown_facts(systems),
            *differing_costs(systems),
            *_ranks(system_runs),
        ),
    )
    _show(comparison, warnings, options)
    if no_verdict:
        raise NoVerdictError(no_verdict)


def _warnings(systems: Sequence[ScoredSystem]) -> Iterator[str]:
    """Remarks on the input that users should check, a sentence each."""
    if sentence := left_out(systems):
        yield sentence
    yield from dict.fromkeys(warning for system in systems for warning in system.warnings)


def _show(comparison: Comparison, warnings: Sequence[str], options: argparse.Namespace) -> None:
    """Print in the form that `options` ask for; in a form without prose `warnings` go to stderr."""
    if options.json or options.form is not None:
        for warning in warnings:
            _logger.warning("%s", warning)
    if options.json:
        cli.print_json(as_json(comparison))
    elif options.form is not None:
        print(FORMS[options.form](comparison))
    else:
        _print(comparison)


def _ranks(system_runs: Sequence[SystemRuns]) -> Iterator[str]:
    """A sentence on the average ranks of three or more systems over speakers."""
    num_speakers = system_runs[0].runs[0]["speaker"].nunique()
    if len(system_runs) < 3 or num_speakers < 2:
        return
    found = rank_over_speakers(system_runs)
    ranks = zip(found.average_ranks, (system.name for system in system_runs), strict=True)
    shown = ", ".join(f"{name} {average:.2f}" for average, name in sorted(ranks))
    yield (
        f"average ranks over {num_speakers} speakers: {shown} (Friedman p {found.p:.2g} for these "
        f"very runs, seeds not counted; closer than {found.critical_difference:.2f} may be chance)"
    )


def _print(comparison: Comparison) -> None:
    for stamp in comparison.stamps:
        STDOUT.print(f"{stamp}\n", style="bold", markup=False)
    print_table(*system_cells(comparison))
    print_table(*pair_cells(comparison))
    if len(comparison.systems) > 2:
        STDOUT.print("\npoints of WER, row minus column; * differ, = equivalent")
        print_table(*matrix_cells(comparison))
    if comparison.groups is not None:
        STDOUT.print()
        print_table(*group_cells(comparison.groups))
    if comparison.gains is not None and len(comparison.gains):
        STDOUT.print()
        print_table(*gain_cells(comparison.gains))
    STDOUT.print()
    for line in (*verdicts(comparison), *comparison.notes):
        STDOUT.print(line, markup=False)
