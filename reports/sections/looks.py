"""Planned looks: how many seeds each system had at each, and what was decided when."""

from dataclasses import dataclass

from reports.input import LookSummary, PairAtLook, ReportInput
from reports.markup import render
from reports.palette import tones_of

TITLE = "Looks"


@dataclass(frozen=True)
class SeedsRow:
    """Confirm runs of a system at each look."""

    system: str
    tone: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class PairRow:
    """A pair, and what each look found of it, up to the one that decided it."""

    a: str
    b: str
    tone_a: int
    tone_b: int
    claim: bool
    at_looks: tuple[PairAtLook | None, ...]
    """None after the decision."""
    outcome: str
    decided_at: int | None
    """The number of the look; None of an open pair."""
    num_seeds: int
    """Of both systems when the numbers were taken."""


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    plan: str
    stamp: str
    looks: tuple[LookSummary, ...]
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
    tones = tones_of(report_input)
    seeds = tuple(
        SeedsRow(name, tone, tuple(look.seeds.get(name, 0) for look in looks))
        for name, tone in tones.items()
    )
    last = looks[-1].pairs if looks else ()
    pairs = [_pair(pair, looks, tones) for pair in last]
    return Numbers(
        plan=design.plan,
        stamp=design.stamp,
        looks=looks,
        seeds=seeds,
        pairs=tuple(sorted(pairs, key=lambda row: not row.claim)),
        num_decided=sum(row.decided_at is not None for row in pairs),
        num_runs=sum(looks[-1].next_seeds.values()) if looks else 0,
        most_runs=design.most_seeds * len(tones),
        is_over=bool(looks) and looks[-1].is_last,
    )


def html(numbers: Numbers) -> str:
    """The section as markup."""
    return render("sections/looks.html", numbers=numbers)


def _pair(last: PairAtLook, looks: tuple[LookSummary, ...], tones: dict[str, int]) -> PairRow:
    is_open = last.outcome == "open"
    at_looks: list[PairAtLook | None] = []
    for look in looks:
        known = {(pair.a, pair.b): pair for pair in look.pairs}
        over = not is_open and look.number > last.decided_at
        at_looks.append(None if over else known.get((last.a, last.b)))
    return PairRow(
        a=last.a,
        b=last.b,
        tone_a=tones[last.a],
        tone_b=tones[last.b],
        claim=last.claim,
        at_looks=tuple(at_looks),
        outcome=last.outcome,
        decided_at=None if is_open else last.decided_at,
        num_seeds=last.num_seeds,
    )
