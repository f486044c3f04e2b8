"""Planned looks: how many seeds each system had at each, and what was decided when."""

from dataclasses import dataclass

from reports.columns import PairColumns, rows_of
from reports.input import ReportInput
from reports.looks import Look, PairAtLook
from reports.palette import system_names

TITLE = "Looks"


@dataclass(frozen=True)
class SeedsRow:
    """Confirm runs of a system at each look."""

    system: str
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class PairRow:
    """A pair, and what each look found of it, up to the one that decided it."""

    last: PairAtLook
    at_looks: tuple[PairAtLook | None, ...]
    """None after the decision."""
    verdict: str
    """Of a decided pair, as the table of pairs has it."""


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    plan: str
    stamp: str
    seeds_at_looks: tuple[int, ...]
    """Of a system, by the plan."""
    looks: tuple[Look, ...]
    seeds: tuple[SeedsRow, ...]
    pairs: tuple[PairRow, ...]
    """Claims first."""
    num_decided: int
    num_runs: int
    """Confirm runs that the looks have asked for."""
    most_runs: int
    is_over: bool


def numbers(report_input: ReportInput) -> Numbers:
    """The looks by system and by pair."""
    looks, design = report_input.looks, report_input.design
    systems = system_names(report_input)
    seeds = tuple(
        SeedsRow(name, tuple(look.seeds.get(name, 0) for look in looks)) for name in systems
    )
    rows = rows_of(report_input.pairs, PairColumns)
    verdicts = {(row["a"], row["b"]): row["verdict"] for row in rows}
    last = looks[-1].pairs if looks else ()
    return Numbers(
        plan=design.plan,
        stamp=design.stamp,
        seeds_at_looks=design.seeds_at_looks,
        looks=looks,
        seeds=seeds,
        pairs=tuple(
            PairRow(
                last=pair,
                at_looks=tuple(_at_look(pair, look) for look in looks),
                verdict=verdicts.get((pair.a, pair.b), ""),
            )
            for pair in sorted(last, key=lambda pair: not pair.claim)
        ),
        num_decided=sum(not pair.is_open for pair in last),
        num_runs=sum(looks[-1].next_seeds.values()) if looks else 0,
        most_runs=max(design.seeds_at_looks, default=0) * len(systems),
        is_over=bool(looks) and looks[-1].is_last,
    )


def _at_look(last: PairAtLook, look: Look) -> PairAtLook | None:
    """The pair `last` as `look` found it."""
    if not last.is_open and look.number > last.decided_at:
        return None
    return next((pair for pair in look.pairs if (pair.a, pair.b) == (last.a, last.b)), None)
