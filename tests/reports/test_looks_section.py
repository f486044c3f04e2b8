from dataclasses import replace

from reports.input import ReportInput
from reports.looks import Look, PairAtLook
from reports.second import SecondGap, SecondVerdict
from reports.sections import looks, second_verdict, verdict
from tests.reports.drawing import markup

PLANNED = (3, 5, 8)


def pair(outcome: int, look: int, num_seeds: int) -> PairAtLook:
    return PairAtLook(
        a="ds-gru", b="ds-lstm", claim=True, outcome=outcome, stage=PLANNED.index(num_seeds),
        decided_at=look, delta=0.031, variances=(), p=0.2, p_adjusted=0.2, level=0.016,
        half_width=0.04, coverage=0.984,
    )  # fmt: skip


def with_looks(study: ReportInput, *taken: tuple[int, int, int]) -> ReportInput:
    """`taken`: seeds at each look and after it, and the outcome of the pair, 0 while it is open."""
    made = []
    decided = 0
    for number, (now, after, outcome) in enumerate(taken, 1):
        decided = decided or (number if outcome else 0)
        seeds, more = (dict.fromkeys(("ds-gru", "ds-lstm"), n) for n in (now, after))
        made.append(
            Look(
                number=number, taken_at="2026-11-30T21:53:56.004+00:00", seeds=seeds,
                next_seeds=more, pairs=(pair(outcome, decided or number, now),),
            )
        )  # fmt: skip
    design = replace(study.design, plan="looks at 3, 5, 8 seeds", seeds_at_looks=PLANNED)
    return replace(study, looks=tuple(made), design=design)


def page(study: ReportInput) -> str:
    return markup(looks, looks.numbers(study)).replace("\N{NO-BREAK SPACE}", " ")


def test_what_each_look_found_and_which_decided(study: ReportInput) -> None:
    shown = looks.numbers(with_looks(study, (3, 5, 0), (5, 5, 1)))
    assert [row.seeds for row in shown.seeds] == [(3, 5), (3, 5)]
    (row,) = shown.pairs
    assert (row.last.decided_at, row.last.is_open, row.verdict) == (2, False, "ds-gru better")
    assert (shown.num_decided, shown.num_runs, shown.most_runs, shown.is_over) == (1, 10, 16, True)
    text = page(with_looks(study, (3, 5, 0), (5, 5, 1)))
    for said in (
        "Planned: looks at 3, 5, 8 seeds. 2 looks taken: 1 of 1 pair decided with 10 of at most 16",
        "No further look follows", "at look 2, with 5 seeds", "5 seeds, p 0.2000, level 0.0160",
        "2026-11-30 21:53",
    ):  # fmt: skip
        assert said in text


def test_nothing_is_shown_of_a_pair_after_its_decision(study: ReportInput) -> None:
    taken = ((3, 5, 1), (5, 5, 1))
    (row,) = looks.numbers(with_looks(study, *taken)).pairs
    assert row.at_looks[0] is not None
    assert row.at_looks[1] is None


def test_a_study_that_goes_on_and_one_that_ended_undecided(study: ReportInput) -> None:
    going = with_looks(study, (3, 5, 0))
    assert "The study goes on" in page(going)
    assert "The study is not complete" in " ".join(verdict.cautions(going))
    over = page(with_looks(study, (8, 8, 0)))
    assert "undecided<small>no look is left" in over
    assert "No look has been taken yet, so no pair is decided" in page(with_looks(study))
    unknown = with_looks(study, (8, 8, 0))
    open_pair = replace(pair(0, 1, 8), p=None, half_width=None)
    page(replace(unknown, looks=(replace(unknown.looks[0], pairs=(open_pair,)),)))


def test_seeds_that_were_raised_are_stamped(study: ReportInput) -> None:
    assert "fixed before the first run" in page(study)
    stamp = "seeds were raised from 3 to 5 after results had been seen; error rates do not hold"
    stamped = replace(study, design=replace(study.design, stamp=stamp))
    assert f"<strong>S{stamp[1:]}.</strong>" in page(stamped)
    assert verdict.cautions(stamped)[0] == f"S{stamp[1:]}."


def test_many_pairs_fold_away(study: ReportInput) -> None:
    made = with_looks(study, (3, 5, 0))
    many = replace(made.looks[0], pairs=made.looks[0].pairs * 16)
    assert "All 16 pairs at each look" in page(replace(made, looks=(many,)))


def test_a_second_verdict_says_that_greedy_gaps_are_of_the_deciding_look(
    study: ReportInput,
) -> None:
    gap = SecondGap(
        a="ds-gru", b="ds-lstm", greedy=(0.1, 0.0, 0.2), greedy_verdict="ds-gru better",
        beam=(0.1, 0.0, 0.2), beam_verdict="ds-gru better", change=(0.01, -0.1, 0.1),
        coverage=0.95, differs=False,
    )  # fmt: skip
    second = SecondVerdict(
        decoder="beam", lm="3-gram", verdict="", gains=(), gaps=(gap,), groups=(), words=()
    )
    planned = with_looks(replace(study, second=second), (3, 5, 1))
    said = "a greedy gap is that of the look that decided it"
    for shown, has in ((planned, True), (replace(planned, looks=()), False)):
        page = markup(second_verdict, second_verdict.numbers(shown))
        assert (said in " ".join(page.split())) == has
