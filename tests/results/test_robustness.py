"""Leads under test conditions: gaps and slopes against sums by hand, families, and sentences."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.core.config import to_dict
from bench.core.errors import UserError
from bench.core.files import write_json
from bench.data.conditions import CONDITION_SETS, TestCondition
from bench.results.comparison import compare
from bench.results.robustness import CLEAN, MAX_LEADS, lead_sentences, robustness
from bench.runs.reader import read_study
from bench.runs.state import State
from bench.scoring import UtteranceScore, score
from bench.study.definition import FILE, StudyDefinition
from bench.study.robustness import load_plan, plan_conditions, scores_file
from reports.input import ConditionGap, Robustness
from tests.studies import record_of, study_of, write_rows

NUM_SPEAKERS, WORDS = 12, "one two three four five six seven eight nine ten"
SYSTEMS = ("ds-gru", "ds-rnn")
# Errors of a speaker's ten words under a condition: the leader's, and the other's.
CLEAN_ERRORS = (1, 3)
Study = tuple[Path, StudyDefinition]


def errors_under(condition: TestCondition) -> tuple[int, int]:
    """In white noise the lead grows as the level of the speech falls; in babble it stays."""
    if condition.kind == "white":
        assert condition.snr_db is not None
        return 1, {20.0: 3, 10.0: 5, 5.0: 7, 0.0: 9}[condition.snr_db]
    return (2, 4) if condition.kind == "babble" else (5, 5)


def errors(label: str, slot: int, num_errors: int, title: str) -> list[int]:
    """Of each speaker: `num_errors`, or one more or fewer by chance."""
    rng = np.random.default_rng(list(f"{label}/{slot}/{title}".encode()))
    return [num_errors + int(change) for change in rng.integers(-1, 2, NUM_SPEAKERS)]


def mean_wer(label: str, num_errors: int, title: str) -> float:
    runs = [sum(errors(label, slot, num_errors, title)) for slot in range(3)]
    return sum(runs) / (3 * 10 * NUM_SPEAKERS)


def mean_gap(condition: TestCondition) -> float:
    wers = [mean_wer(label, num, condition.title)
            for label, num in zip(SYSTEMS, errors_under(condition), strict=True)]  # fmt: skip
    return wers[1] - wers[0]


def scores(counts: Sequence[int]) -> list[UtteranceScore]:
    """Of an utterance a speaker, with so many wrong words."""
    ids = [f"s{i}-1" for i in range(NUM_SPEAKERS)]
    words = WORDS.split()
    hyps = [" ".join(["wrong"] * wrong + words[wrong:]) for wrong in counts]
    return score(ids, [WORDS] * NUM_SPEAKERS, hyps, [i[:-2] for i in ids], [1.0] * NUM_SPEAKERS)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    definition = study_of(SYSTEMS, name="first", data_digest="d1")
    folder = tmp_path / "out" / "first"
    write_json(folder / FILE, to_dict(definition))
    plan = plan_conditions(folder, definition, "noise")
    for place, label in enumerate(SYSTEMS):
        for slot in range(3):
            own = folder / "runs" / label / f"confirm-{slot}"
            given = {"kind": "confirm", "slot": slot, "seed": 5000 + slot, "system": label}
            record = record_of(own, data_digest="d1", **given)
            record.write_scores("test", scores(errors(label, slot, CLEAN_ERRORS[place], CLEAN)))
            record.close(State.FINISHED, {})
            for condition in plan.conditions:
                under = errors(label, slot, errors_under(condition)[place], condition.title)
                write_rows(scores_file(folder, f"{label}/{own.name}", condition), scores(under))
    return folder, definition


def read(study: Study) -> Robustness | None:
    folder, definition = study
    tables = read_study(folder)
    return robustness(folder, definition, tables, compare(definition, tables))


def found(study: Study) -> Robustness:
    result = read(study)
    assert result is not None
    return result


def test_rates_are_those_of_each_condition(study: Study) -> None:
    rates = {(rate.condition, rate.system): rate.wer for rate in found(study).rates}
    assert len(rates) == 10 * 2
    for condition in CONDITION_SETS["noise"]:
        for label, num_errors in zip(SYSTEMS, errors_under(condition), strict=True):
            wer, low, high = rates[condition.title, label]
            assert wer == pytest.approx(mean_wer(label, num_errors, condition.title))
            assert low < wer < high
    assert rates[CLEAN, "ds-rnn"][0] == pytest.approx(mean_wer("ds-rnn", 3, CLEAN))


def test_rates_as_recorded_are_those_of_the_verdict(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where intervals are bootstrapped: the same number twice on a page is one number."""
    monkeypatch.setattr("bench.stats.clusters.FEWEST_LINEARISED", NUM_SPEAKERS + 1)
    folder, definition = study
    systems = compare(definition, read_study(folder)).systems
    shown = {row["system"]: (row["wer_mean"], row["wer_low"], row["wer_high"])
             for row in systems.to_dict("records")}  # fmt: skip
    clean = {rate.system: rate.wer for rate in found(study).rates if rate.condition == CLEAN}
    assert clean == shown


def test_gaps_have_verdicts_of_a_family_of_their_own(study: Study) -> None:
    gaps = {gap.condition: gap for gap in found(study).gaps}
    assert len(gaps) == 9
    for condition in CONDITION_SETS["noise"]:
        first, second = errors_under(condition)
        gap = gaps[condition.title]
        assert gap.gap[0] == pytest.approx(mean_gap(condition))
        assert gap.verdict == ("ds-gru better" if second > first else "undecided")
    # Holm: the test with the smallest p of nine has a ninth of 5 %, the last all of it.
    assert max(gap.coverage for gap in gaps.values()) == pytest.approx(1 - 0.05 / 9)


def test_changes_are_slopes_for_10_db_less_and_the_step_into_a_room(study: Study) -> None:
    changes = {change.what: change for change in found(study).changes}
    assert list(changes) == ["white, 10 dB less", "babble, 10 dB less", "room, RT60 0.5 s"]
    # Least squares of the gaps over 20, 10, 5, 0 dB, for 10 dB less.
    levels = [20, 10, 5, 0]
    for kind, what in (("white", "white, 10 dB less"), ("babble", "babble, 10 dB less")):
        gaps = [mean_gap(TestCondition(kind=kind, snr_db=db)) for db in levels]  # type: ignore[arg-type]
        slope = np.polyfit(levels, gaps, 1)[0]
        assert changes[what].change[0] == pytest.approx(-10 * slope)
    assert changes["white, 10 dB less"].differs
    assert not changes["babble, 10 dB less"].differs
    room = CONDITION_SETS["noise"][-1]
    clean_gap = mean_wer("ds-rnn", 3, CLEAN) - mean_wer("ds-gru", 1, CLEAN)
    assert changes[room.title].change[0] == pytest.approx(mean_gap(room) - clean_gap)
    assert changes[room.title].differs


def test_sentences_say_where_a_lead_is_found_again(study: Study) -> None:
    assert found(study).sentences == (
        "ds-gru leads ds-rnn in 8 of 9 conditions; undecided in room, RT60 0.5 s. The gap changes "
        "with white, 10 dB less; room, RT60 0.5 s.",
    )


def test_a_lead_that_turns_is_called_so(study: Study) -> None:
    folder, _ = study
    room = CONDITION_SETS["noise"][-1]
    for slot in range(3):
        write_rows(scores_file(folder, f"ds-gru/confirm-{slot}", room), scores([9] * NUM_SPEAKERS))
    (sentence,) = found(study).sentences
    assert "in 8 of 9 conditions, and is behind in room, RT60 0.5 s." in sentence


def test_of_many_leads_the_claims_come_first_and_the_rest_are_counted() -> None:
    others = [f"system-{place}" for place in range(MAX_LEADS + 2)]
    pairs = pd.DataFrame(
        [{"a": "a", "b": b, "claim": b == others[-1], "verdict": "a better"} for b in others]
    )
    gaps = [
        ConditionGap(
            condition="room", a="a", b=b, gap=(0.1, 0.0, 0.2), coverage=0.95, p_adjusted=0.01,
            verdict="a better",
        )
        for b in others
    ]  # fmt: skip
    sentences = list(lead_sentences(pairs, gaps, []))
    assert len(sentences) == MAX_LEADS + 1
    assert sentences[0].startswith(f"a leads {others[-1]} in 1 of 1 conditions")
    assert sentences[-1] == "The report's tables have 2 more leads."


def test_nothing_is_said_before_every_run_was_tested(study: Study) -> None:
    folder, _ = study
    scores_file(folder, "ds-rnn/confirm-1", CONDITION_SETS["noise"][3]).unlink()
    assert read(study) is None
    (folder / "conditions" / "conditions.json").unlink()
    assert load_plan(folder) is None
    assert read(study) is None


def test_other_conditions_are_not_mixed_in(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, definition = study
    assert plan_conditions(folder, definition, "noise") == load_plan(folder)
    with pytest.raises(
        UserError, match="first was tested under other conditions: seed was 0, is 7"
    ):
        plan_conditions(folder, replace(definition, seed=7), "noise")
    with pytest.raises(UserError, match="unknown set of conditions 'nois'; did you mean noise"):
        plan_conditions(folder, definition, "nois")


def test_withheld_where_a_search_was_too_narrow(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.results import confirmed

    edges = dict.fromkeys(study[1].systems, ("widen it",))
    monkeypatch.setattr(confirmed, "search_edges", lambda *_: edges)
    verdicts = {gap.verdict for gap in found(study).gaps}
    assert verdicts == {"withheld", "undecided"}
