"""A study whose seeds are added at planned looks, from records that are written as runs would."""

import argparse
import json
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import sweep, watch
from bench.core.console import STDOUT
from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.queue.storage import QueueStorage
from bench.results.comparison import compare
from bench.results.looks import decisions_at, look_sentence, next_look, outcome_of
from bench.results.progress import ProgressReader
from bench.results.publish import publish
from bench.results.search import narrow_systems, search_edges
from bench.results.study import Study
from bench.results.tables import Comparison, as_json
from bench.runs import read_study
from bench.runs.state import State
from bench.scoring import score
from bench.stats.looks import DIFFERENT, OPEN, Plan
from bench.study.definition import StudyDefinition, begin_or_return, load, run_folder
from bench.study.question import Question, System
from bench.study.rounds import confirm_seeds, read_looks
from reports.format import plural
from tests.studies import record_of, study_of

SPEAKERS, UTTERANCES, WORDS = 12, 5, 20
RATES = {"a": 0.2, "b": 0.2, "c": 0.2, "d": 0.6}
QUESTION = Question(
    name="q", summary="", claim="", source="", better=(("a", "b"), ("a", "d")), base="a",
    margin_points=1.0,
)  # fmt: skip


@pytest.fixture
def definition() -> StudyDefinition:
    systems = {label: System(variant="ds-gru") for label in RATES}
    corpus = CorpusConfig(name="manifest", path="/nowhere")
    plan = Plan(looks=(3, 5, 8))
    return study_of(systems, corpus=corpus, question=QUESTION, name="until", plan=plan)


def write_run(
    folder: Path, label: str, kind: str, slot: int, rate: float, state: State = State.FINISHED
) -> None:
    """An ended run; a confirm run with errors at about `rate`, the same whenever it is written."""
    run = run_folder(folder, label, kind, slot)
    record = record_of(run, study="until", system=label, kind=kind, slot=slot, seed=slot)
    metrics = {"best/valid/wer": rate}
    if kind == "confirm":
        rng = np.random.default_rng([slot, *label.encode()])
        own = max(0.0, rate + rng.normal(0, 0.02))
        ids = [f"s{s:02d}-{u}" for s in range(SPEAKERS) for u in range(UTTERANCES)]
        refs = ["word " * WORDS] * len(ids)
        wrong = rng.binomial(WORDS, own, len(ids))
        hyps = ["word " * (WORDS - num) + "no " * num for num in wrong]
        record.write_scores(
            "test", score(ids, refs, hyps, [id[:3] for id in ids], [1.0] * len(ids))
        )
        metrics["test/wer"] = float(wrong.sum()) / (WORDS * len(ids))
    record.close(state, metrics)


def run_round(folder: Path, definition: StudyDefinition, rates: dict[str, float] = RATES) -> None:
    """What the launcher runs: trials once, and the confirm runs that the records ask for."""
    for label, num in confirm_seeds(definition, read_looks(folder)).items():
        for kind, count in (("trial", definition.budget.num_trials), ("confirm", num)):
            for slot in range(count):
                if not run_folder(folder, label, kind, slot).exists():
                    write_run(folder, label, kind, slot, rates[label])


def finished(folder: Path, definition: StudyDefinition) -> None:
    begin_or_return(folder, definition)
    while True:
        run_round(folder, definition)
        look = next_look(folder, definition)
        assert look is not None
        if look.is_last:
            return


def test_a_look_is_taken_when_its_runs_have_ended_and_once(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    begin_or_return(tmp_path, definition)
    assert next_look(tmp_path, definition) is None
    run_round(tmp_path, definition)
    first = next_look(tmp_path, definition)
    assert first is not None
    assert first.seeds == dict.fromkeys(RATES, 3)
    outcomes = {(pair.a, pair.b): pair.outcome for pair in first.pairs}
    assert outcomes["a", "d"] == outcomes["b", "d"] == outcomes["c", "d"] == DIFFERENT
    assert outcomes["a", "b"] == OPEN
    assert first.next_seeds == {"a": 5, "b": 5, "c": 3, "d": 3}, "the open claim first"
    before = (tmp_path / "looks" / "look-1.json").read_bytes()
    assert next_look(tmp_path, definition) == first, "the next one waits for its runs"
    assert (tmp_path / "looks" / "look-1.json").read_bytes() == before


def test_a_look_waits_for_the_confirm_runs_of_a_pruned_trial(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    begin_or_return(tmp_path, definition)
    for slot in range(definition.budget.num_trials):
        write_run(tmp_path, "d", "trial", slot, RATES["d"], State.PRUNED)
    for label in "abc":
        for kind, count in (("trial", definition.budget.num_trials), ("confirm", 3)):
            for slot in range(count):
                write_run(tmp_path, label, kind, slot, RATES[label])
    assert next_look(tmp_path, definition) is None
    run_round(tmp_path, definition)
    assert next_look(tmp_path, definition) is not None


def test_a_look_whose_record_was_lost_has_the_same_answer(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    """Runs of the next round may be there already; they take no part."""
    finished(tmp_path, definition)
    looks = read_looks(tmp_path)
    assert len(looks) > 2
    for path in (tmp_path / "looks").iterdir():
        path.unlink()
    for look in looks:
        again = next_look(tmp_path, definition)
        assert again is not None
        assert (again.seeds, again.next_seeds, again.pairs) == (
            look.seeds, look.next_seeds, look.pairs,
        )  # fmt: skip


def test_the_study_ends_when_every_pair_is_decided_or_has_no_look_left(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    finished(tmp_path, definition)
    looks = read_looks(tmp_path)
    assert [look.number for look in looks] == list(range(1, len(looks) + 1))
    assert next_look(tmp_path, definition) == looks[-1]
    assert looks[-1].seeds == {"a": 8, "b": 8, "c": 8, "d": 3}
    for before, after in pairwise(looks):
        assert after.seeds == before.next_seeds
        for was, now in zip(before.pairs, after.pairs, strict=True):
            assert was == now if was.outcome != OPEN else now.stage >= was.stage


def put_at_edge(folder: Path, label: str) -> None:
    """Let the best trial of a system lie at the upper end of its searched learning rate."""
    trial = run_folder(folder, label, "trial", 1)
    for name, part, key, value in (
        ("run.json", "params", "optim.learning_rate", 0.0059),
        ("summary.json", "metrics", "best/valid/wer", 0.01),
    ):
        content = json.loads((trial / name).read_text())
        content[part][key] = value
        (trial / name).write_text(json.dumps(content))


def test_where_a_range_was_too_narrow_every_page_withholds_the_same_verdicts(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    """Tables of pairs and of looks, watch and the sweep's sentence, MLflow's notes."""
    begin_or_return(tmp_path, definition)
    run_round(tmp_path, definition)
    put_at_edge(tmp_path, "d")
    look = next_look(tmp_path, definition)
    assert look is not None
    narrow = narrow_systems(definition, tmp_path)
    assert narrow == {"d"}
    shown = [outcome_of(pair, narrow) for pair in look.pairs]
    assert sorted(shown) == ["open"] * 3 + ["withheld"] * 3
    tables = read_study(tmp_path)
    comparison = compare(definition, tables, [look])
    assert sorted(comparison.pairs["verdict"]) == ["undecided"] * 3 + ["withheld"] * 3
    progress = ProgressReader(tmp_path).read().round
    assert progress is not None
    notes: list[str] = []
    tracker = SimpleNamespace(summarise=lambda findings, _: notes.extend(findings.notes))
    edges = search_edges(definition, tables.runs)
    made = SimpleNamespace(
        edges=edges,
        second=None,
        configs={},
        command="",
        systems=comparison.systems,
        runs=tables.runs,
    )
    publish(tracker, tmp_path, made, comparison)  # type: ignore[arg-type]
    said = "look 1: a : d withheld; b : d withheld; c : d withheld; 3 of 6 pairs open; "
    assert notes[0].startswith(said)
    assert progress.last_look == look_sentence(look, narrow) == notes[0]
    assert "better" not in notes[0]


def test_the_edge_of_a_pruned_winner_withholds_too(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    """Where every trial was pruned, the best of them is confirmed, so its edge counts."""
    begin_or_return(tmp_path, definition)
    for slot in range(definition.budget.num_trials):
        write_run(tmp_path, "d", "trial", slot, RATES["d"], State.PRUNED)
    run_round(tmp_path, definition)
    put_at_edge(tmp_path, "d")
    look = next_look(tmp_path, definition)
    assert look is not None
    assert narrow_systems(definition, tmp_path) == {"d"}
    pairs = compare(definition, read_study(tmp_path), [look]).pairs
    assert sorted(pairs["verdict"]) == ["undecided"] * 3 + ["withheld"] * 3


def test_verdicts_are_those_of_the_look_that_decided(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    begin_or_return(tmp_path, definition)
    run_round(tmp_path, definition)
    early = compare(definition, read_study(tmp_path)).pairs
    assert set(early["verdict"]) == {"undecided"}, "no look has been taken"
    assert set(early["remedy"]) == {"look 1 of the plan has not been taken"}
    next_look(tmp_path, definition)
    # From now on d is as good as a, as far as further runs say.
    write_run(tmp_path, "d", "confirm", 3, 0.01)
    looks = read_looks(tmp_path)
    found = compare(definition, read_study(tmp_path), looks)
    row = found.pairs.set_index(["a", "b"]).loc[("a", "d")]
    pair = next(pair for pair in looks[0].pairs if (pair.a, pair.b) == ("a", "d"))
    assert (row["verdict"], row["delta_wer"], row["coverage"]) == (
        "a better", pair.delta, pair.coverage,
    )  # fmt: skip
    assert pair.half_width is not None
    assert row["low"] == pytest.approx(pair.delta - pair.half_width)
    assert row["low"] > 0
    assert any("a plan (looks at 3, 5, 8 seeds" in sentence for sentence in found.assumptions)


Compare = Callable[..., dict[str, Any]]


@pytest.fixture
def compared(run: Callable[..., tuple[int, str, str]]) -> Compare:
    """What ``bench.compare … --json`` prints."""

    def of(*arguments: object) -> dict[str, Any]:
        code, out, err = run("compare", *map(str, arguments), "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    return of


def as_reported(folder: Path, seed: int) -> dict[str, Any]:
    """What the report says of each system and pair, as bench.compare has it."""
    definition = replace(load(folder), seed=seed)
    found = compare(definition, read_study(folder), read_looks(folder))
    shown = Comparison(systems=found.systems.rename(columns=NAMES).assign(**UNSHOWN),
                       pairs=found.pairs, not_comparable=())  # fmt: skip
    return as_json(shown)


NAMES = {"system": "name", "wer_mean": "wer", "wer_low": "low", "wer_high": "high"}
UNSHOWN = dict.fromkeys(("errors", "num_ref_words", "se_utterances", "se_speakers"), 0)


@pytest.mark.parametrize("num_looks", [0, 1, 2, 3])
def test_the_command_compares_as_the_report_does(
    tmp_path: Path, definition: StudyDefinition, compared: Compare, num_looks: int
) -> None:
    """Before each look, with runs of the next round already there, after the last, and saved."""
    folder, saved = tmp_path / "until", tmp_path / "saved.jsonl"
    begin_or_return(folder, definition)
    for _ in range(num_looks):
        run_round(folder, definition)
        assert next_look(folder, definition) is not None
    run_round(folder, definition)
    expected = as_reported(folder, seed=0)
    found = compared(folder, "--save", saved)
    again = compared(saved)
    for one in (found, again):
        assert one["pairs"] == expected["pairs"]
        assert [(s["name"], s["wer"], s["low"], s["high"]) for s in one["systems"]] == [
            (s["name"], s["wer"], s["low"], s["high"]) for s in expected["systems"]
        ]
        (told,) = (note for note in one["notes"] if "by a plan" in note)
        taken = plural(num_looks, "look was", "looks were")
        assert f"(looks at 3, 5, 8 seeds, pocock spending of alpha); {taken} taken, " in told
        assert one["cautions"] == []
    assert again["systems"] == found["systems"]
    verdicts = {pair["verdict"] for pair in found["pairs"]}
    assert verdicts == ({"undecided", "a better", "b better", "c better"} if num_looks
                        else {"undecided"})  # fmt: skip


def test_looks_do_not_count_beside_systems_from_elsewhere_or_with_another_margin(
    tmp_path: Path, definition: StudyDefinition, compared: Compare
) -> None:
    folder, other, saved = tmp_path / "until", tmp_path / "other", tmp_path / "saved.jsonl"
    finished(folder, definition)
    fixed = {"x": System(variant="ds-gru"), "y": System(variant="ds-gru")}
    begin_or_return(other, study_of(fixed, name="other", corpus=definition.corpus))
    for label in fixed:
        write_run(other, label, "confirm", 0, 0.2)
    outside = compared(folder, other, "--force", "--save", saved)
    (stamp,) = outside["cautions"]
    assert stamp.startswith("LOOKS NOT COUNTED: until added seeds at planned looks (looks at 3, 5")
    assert "systems from elsewhere stand beside its own" in stamp
    assert compared(saved, "--force")["cautions"] == [stamp]
    (stamp,) = compared(folder, "--margin", "2")["cautions"]
    assert "equivalence has another margin here" in stamp
    assert compared(folder, "--margin", "1")["cautions"] == []
    assert compared(other)["cautions"] == []


def test_the_python_interface_has_the_verdicts_of_the_looks(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    finished(tmp_path, definition)
    pairs = Study(tmp_path).comparison.pairs
    assert set(pairs["verdict"]) > {"undecided"}
    pd.testing.assert_frame_equal(
        pairs, compare(definition, read_study(tmp_path), read_looks(tmp_path)).pairs
    )


def test_an_undecided_pair_after_the_last_look_has_a_remedy(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    finished(tmp_path, definition)
    looks = read_looks(tmp_path)
    pairs = compare(definition, read_study(tmp_path), looks).pairs
    still = pairs[pairs["verdict"] == "undecided"]
    assert len(still)
    assert all(
        "with 80 % power if the true difference is the one seen" in r for r in still["remedy"]
    )


def test_a_record_holds_what_the_next_look_needs(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    begin_or_return(tmp_path, definition)
    run_round(tmp_path, definition)
    look = next_look(tmp_path, definition)
    assert look is not None
    state = decisions_at(look, list(RATES))
    assert state.outcome.tolist() == [pair.outcome for pair in look.pairs]
    assert state.estimate.p() == pytest.approx([pair.p for pair in look.pairs])
    assert decisions_at(look, ["a", "x"]).outcome.tolist() == [OPEN]


def test_a_damaged_record_is_named(tmp_path: Path, definition: StudyDefinition) -> None:
    (tmp_path / "looks").mkdir()
    (tmp_path / "looks" / "look-1.json").write_text('{"number": 1}')
    with pytest.raises(UserError, match=r"look-1\.json is damaged .* put back what it held"):
        read_looks(tmp_path)


def test_a_system_without_a_scored_run_keeps_no_other_waiting(
    tmp_path: Path, definition: StudyDefinition
) -> None:
    begin_or_return(tmp_path, definition)
    run_round(tmp_path, definition)
    for label in ("c", "d"):
        for path in (tmp_path / "runs" / label).glob("*/summary.json"):
            summary = json.loads(path.read_text()) | {"state": "failed"}
            path.write_text(json.dumps(summary))
        for path in (tmp_path / "runs" / label).glob("confirm-*/utterances-test.jsonl"):
            path.unlink()
    look = next_look(tmp_path, definition)
    assert look is not None
    assert [(pair.a, pair.b) for pair in look.pairs] == [("a", "b")]
    assert look.next_seeds == {"a": 5, "b": 5, "c": 3, "d": 3}


def test_progress_has_the_round(tmp_path: Path, definition: StudyDefinition) -> None:
    begin_or_return(tmp_path, definition)
    reader = ProgressReader(tmp_path)
    run_round(tmp_path, definition)
    progress = reader.read()
    assert progress.num_ended == progress.num_planned == 8 + 12
    assert not progress.is_over, "the look has not been taken"
    next_look(tmp_path, definition)
    progress = reader.read()
    assert progress.num_planned == 8 + 16
    found = progress.round
    assert found is not None
    assert (found.number, found.num_decided, found.num_pairs) == (2, 3, 6)
    with STDOUT.capture() as capture:
        STDOUT.print(watch.draw(progress), width=200)
    assert "round 2: 3 to 5 seeds, 8 at most; 3 of 6 pairs decided" in capture.get()
    assert json.dumps(progress.as_json())


def test_two_launchers_take_each_look_once(
    tmp_path: Path, definition: StudyDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has the study's lease and takes it, the other waits and goes by its record."""
    monkeypatch.setattr("bench.queue.storage.LEASE_POLL_SECONDS", 0.01)
    begin_or_return(tmp_path, definition)
    turn, told, runs = threading.Lock(), [], []

    def run(_: Callable[[], None]) -> None:
        with turn:  # runs are shared out by the queue
            runs.append(confirm_seeds(definition, read_looks(tmp_path)))
            run_round(tmp_path, definition)

    launcher: Any = SimpleNamespace(run=run)
    tracker: Any = SimpleNamespace(tell_round=told.append)
    stop: Any = SimpleNamespace(check=lambda: None)
    options = argparse.Namespace(grace=60.0)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with closing(QueueStorage(None, tmp_path, num_workers=2)) as storage:
                while not sweep._round_is_last(
                    tmp_path, launcher, definition, storage, tracker, options, stop
                ):
                    pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    looks = read_looks(tmp_path)
    assert looks[-1].is_last
    assert len(told) >= len(looks), "MLflow is told of each"
    assert told[-1]["num_looks"] == str(len(looks))
    other = tmp_path / "alone"
    finished(other, definition)
    assert [look.pairs for look in read_looks(other)] == [look.pairs for look in looks]
