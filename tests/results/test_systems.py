"""Systems from studies, runs, JSON lines and trn files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.core.config import to_dict
from bench.core.errors import UserError
from bench.core.paths import write_json
from bench.data.corpora import CorpusConfig
from bench.data.text import text_digest
from bench.results.scored import ScoredSystem, aligned, claims_among
from bench.results.systems import NORMALISED, read_systems
from bench.scoring import score
from bench.study.definition import FILE, define
from bench.study.space import load_budget

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
REFS = {"s1-1": "one two three", "s1-2": "four five", "s2-1": "six"}


def nemo(path: Path, hyps: dict[str, str], **more: Any) -> Path:
    rows = [{"audio_filepath": id, "text": REFS[id], "pred_text": hyps[id], **more} for id in hyps]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_json: dict[str, object]
) -> Callable[..., Path]:
    """``study(name, budget, data)`` writes a study of ds-gru with two confirm runs."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, budget: str = "smoke", data: str = "d1", hardware: str = "cpu-1") -> Path:
        definition = replace(
            define(["ds-gru"], CorpusConfig(), load_budget(budget), seed=0, device="cpu", settings={}),
            data_digest=data, name=name,
        )  # fmt: skip
        folder = tmp_path / "out" / name
        write_json(folder / FILE, to_dict(definition))
        for seed, last in enumerate(("six", "sex")):
            run = folder / "runs" / "ds-gru" / f"confirm-{seed}"
            ids = {"mlflow_run_id": f"{name}{seed}", "data_digest": data}
            write_json(run / "run.json", run_json | ids)
            environment = {"cpu": hardware, "gpu": "unused", "version.jiwer": "4.0.0"}
            write_json(run / "environment.json", environment)
            hyps = ["one two", "four five", last]
            scores = score(REFS, REFS.values(), hyps, ["s1", "s1", "s2"], [1.0, 1.0, 1.0])
            lines = [json.dumps(to_dict(row)) + "\n" for row in scores]
            (run / "utterances-test.jsonl").write_text("".join(lines))
        return folder

    return write


def test_a_study_is_its_systems_with_a_run_per_seed(study: Callable[..., Path]) -> None:
    folder = study("first")
    for name in ("first", str(folder)):
        (system,) = read_systems([name])
        assert (system.name, len(system.outcome.runs)) == ("ds-gru", 2)
        assert system.facts["data"] == "d1"
        assert system.facts["budget.num_trials"] == "2"
    run = folder / "runs" / "ds-gru" / "confirm-1"
    for name in (str(run), "first1", str(run / "utterances-test.jsonl")):
        (system,) = read_systems([name])
        assert (system.name, len(system.outcome.runs)) == ("ds-gru/confirm-1", 1)
        assert list(system.outcome.runs[0]["substitutions"]) == [0, 0, 1]


def test_systems_of_two_studies_are_told_apart(study: Callable[..., Path]) -> None:
    study("small")
    study("large", budget="quick")
    systems = read_systems(["small", "large"])
    assert [system.name for system in systems] == ["small/ds-gru", "large/ds-gru"]
    with pytest.raises(UserError, match="got 'small/ds-gru' 2 times"):
        read_systems(["small", "small"])


def test_what_a_run_has_recorded(study: Callable[..., Path]) -> None:
    folder = study("first")
    (system,) = read_systems(["first"])
    assert {key for key in system.facts if "." not in key} == {
        "data", "text", "decoder", "precision", "hardware", "metric", "features",
    }  # fmt: skip
    assert system.facts["text"] == text_digest()
    assert system.facts["hardware"] == "cpu-1", "a GPU that was not used does not count"
    assert system.facts["metric"] == "jiwer 4.0.0"
    other = {"cpu": "cpu-2"}
    write_json(folder / "runs" / "ds-gru" / "confirm-1" / "environment.json", other)
    (mixed,) = read_systems(["first"])
    assert mixed.facts["hardware"] == "cpu-1 | cpu-2"
    (folder / FILE).unlink()
    (alone,) = read_systems([str(folder / "runs" / "ds-gru" / "confirm-0")])
    assert set(alone.facts) == {"data", "hardware", "metric"}


def test_runs_that_are_missing_are_told(study: Callable[..., Path]) -> None:
    folder = study("first")
    assert read_systems(["first"])[0].notes == ()
    (folder / "runs" / "ds-gru" / "confirm-1" / "utterances-test.jsonl").unlink()
    assert read_systems(["first"])[0].notes == ("first/ds-gru: 1 of 2 confirm runs scored",)


@pytest.mark.parametrize("state", ["failed", "diverged"])
def test_a_run_that_left_nothing_to_score_counts(study: Callable[..., Path], state: str) -> None:
    run = study("first") / "runs" / "ds-gru" / "confirm-1"
    (run / "utterances-test.jsonl").unlink()
    summary = {"state": state, "metrics": {}, "error": None, "ended_at": "t"}
    write_json(run / "summary.json", summary)
    (system,) = read_systems(["first"])
    first, lost = system.outcome.runs
    assert set(lost["hyp"]) == {""}
    assert (lost["deletions"] == first["num_ref_words"]).all()
    assert f"({state}) count with a WER of 100 %" in " ".join(system.notes)


def test_claims_go_by_the_names_that_systems_have_here(study: Callable[..., Path]) -> None:
    study("one")
    (system,) = read_systems(["one"])
    other = replace(system, outcome=replace(system.outcome, name="two/ds-gru"), study="two")
    lstm = replace(system, outcome=replace(system.outcome, name="ds-lstm"), study="two")
    claimed = [
        replace(s, claims=(("ds-gru", "ds-lstm"), ("ds-rnn", "ds-gru"))) for s in (other, lstm)
    ]
    assert claims_among([system, *claimed]) == (("two/ds-gru", "ds-lstm"),)


def test_json_lines_of_others_are_normalised_and_scored(tmp_path: Path) -> None:
    hyps = {"s1-1": "One, two THREE!", "s1-2": "four", "s2-1": ""}
    (system,) = read_systems([str(nemo(tmp_path / "x.jsonl", hyps, speaker="ann"))])
    run = system.outcome.runs[0]
    assert list(run["deletions"]) == [0, 1, 1]
    assert set(run["speaker"]) == {"ann"}
    assert system.notes == (NORMALISED,)
    assert system.facts == {"text": text_digest(), "metric": system.facts["metric"]}


def test_symbols_outside_our_alphabet_count_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"key": 7, "text": "Größe 42 ½", "pred_text": "größe 43 ½"}\n')
    (run,) = read_systems([str(path)])[0].outcome.runs
    assert (run["id"][0], run["hits"][0], run["substitutions"][0]) == ("7", 2, 1)


def test_a_recording_names_its_utterance_as_in_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('\ufeff{"audio_filepath": "./clips/s1.wav", "text": "a", "pred_text": "a"}\r\n')
    assert list(read_systems([str(path)])[0].outcome.runs[0]["id"]) == ["clips/s1"]


def test_speakers_come_from_whichever_system_names_them(tmp_path: Path) -> None:
    nameless = str(nemo(tmp_path / "nameless.jsonl", REFS))
    named = str(nemo(tmp_path / "named.jsonl", REFS, speaker="ann"))
    for names in ([nameless, named], [named, nameless]):
        for outcome in aligned(read_systems(names), common=False):
            assert set(outcome.runs[0]["speaker"]) == {"ann"}
    (alone,) = read_systems([nameless])
    assert list(aligned([alone], common=False)[0].runs[0]["speaker"]) == sorted(REFS)
    assert any("not every utterance has a speaker" in note for note in alone.notes)
    other = str(nemo(tmp_path / "other.jsonl", REFS, speaker="bob"))
    with pytest.raises(UserError, match=r"one speaker .* 's1-1' is 'ann' in named and 'bob'"):
        aligned(read_systems([named, other]), common=False)


def test_trn_files_have_their_speaker_in_the_id() -> None:
    (system,) = read_systems([str(GOLDEN / "a.trn")], GOLDEN / "ref.trn")
    run = system.outcome.runs[0]
    assert (len(run), run["speaker"].nunique(), run["num_ref_words"].sum()) == (80, 8, 1150)
    assert run[["substitutions", "deletions", "insertions"]].to_numpy().sum() == 131


def both(tmp_path: Path, one: dict[str, str], two: dict[str, str]) -> list[ScoredSystem]:
    return read_systems(
        [str(nemo(tmp_path / "one.jsonl", one)), str(nemo(tmp_path / "two.jsonl", two))]
    )


def test_runs_are_brought_into_one_order(tmp_path: Path) -> None:
    outcomes = aligned(both(tmp_path, REFS, dict(reversed(REFS.items()))), common=False)
    assert all(list(o.runs[0]["id"]) == sorted(REFS) for o in outcomes)


def test_other_utterances_are_refused_or_left_out(tmp_path: Path) -> None:
    systems = both(tmp_path, REFS, {"s1-1": "one", "s2-1": "six"})
    with pytest.raises(UserError, match=r"1 of the 3 of one \('s1-2'\) are not in .* --common"):
        aligned(systems, common=False)
    assert [len(o.runs[0]) for o in aligned(systems, common=True)] == [2, 2]
    nothing = both(tmp_path, {"s1-1": "one"}, {"s2-1": "six"})
    with pytest.raises(UserError, match=r"none in common .such as 's1-1' of one, 's2-1' of two"):
        aligned(nothing, common=True)


def test_other_references_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = nemo(tmp_path / "one.jsonl", REFS)
    monkeypatch.setitem(REFS, "s1-2", "for five")
    two = nemo(tmp_path / "two.jsonl", REFS)
    with pytest.raises(UserError, match="'s1-2' is 'four five' in one and 'for five' in two"):
        aligned(read_systems([str(one), str(two)]), common=False)


GOOD = '{"id": "a", "text": "x", "pred_text": "y"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold a line per utterance"),
        (b"\n \n", "must hold a line per utterance"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"{", r":1: a line is one JSON object, got '{'"),
        (b"[1]\n", r":1: a line is one JSON object"),
        (GOOD.encode() + b"\n" + GOOD.encode(), r":3: 'a' is there already"),
        (b'{"id": "a", "text": "x"}', r":1: an utterance has text, pred_text and an id"),
        (b'{"text": "x", "pred_text": "y"}', "got the keys pred_text, text"),
        (b'{"id": "a", "text": 3, "pred_text": "y"}', r":1: an utterance has"),
        (b'{"id": null, "text": "x", "pred_text": "y"}', r":1: an utterance has"),
        (
            b'\n{"id": "a", "text": " . ", "pred_text": "y"}',
            r":2: .*at least one word, .* 'a' is ' . '",
        ),
    ],
)
def test_bad_json_lines(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_systems([str(path)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold a line per utterance"),
        ("six\n", r":1: a line reads `WORDS \(ID\)`, got 'six'"),
        ("six ()\n", "a line reads"),
        ("six (s 1)\n", "a line reads"),
        ("{ six / sex } (s2-1)\n", ":1: alternatives in braces are not scored"),
        ("six (s2-1)\nsix (s2-1)\n", ":2: 's2-1' is there already"),
        ("six (s2-2)\n", "'s2-1' is only in .*ref.trn:1 .1 missing, 1 too many"),
        ("six (s2-1)\nsix (s2-2)\n", "'s2-2' is only in .*hyp.trn"),
    ],
)
def test_bad_trn_files(content: str, message: str, tmp_path: Path) -> None:
    ref, hyp = tmp_path / "ref.trn", tmp_path / "hyp.trn"
    ref.write_text("six (s2-1)\n")
    hyp.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_systems([str(hyp)], ref)
    assert "\n" not in str(caught.value)


def test_an_empty_reference_is_found_in_the_file_that_has_it(tmp_path: Path) -> None:
    ref, hyp = tmp_path / "ref.trn", tmp_path / "hyp.trn"
    ref.write_text("six (s2-1)\n(s2-2)\n")
    hyp.write_text("six (s2-1)\nsix (s2-2)\n")
    with pytest.raises(UserError, match=r"ref\.trn:2: a reference has at least one word"):
        read_systems([str(hyp)], ref)


def test_speakers_of_trn_ids_without_a_dash(tmp_path: Path) -> None:
    path = tmp_path / "x.trn"
    path.write_text("six (s2_1)\nsix (s3_a-1)\nsix (s4)\n")
    (system,) = read_systems([str(path)], path)
    assert list(system.outcome.runs[0]["speaker"]) == ["s2", "s3_a", "s4"]


def test_what_is_no_system_is_refused(study: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'nothing' is none; .*bench\.ls studies.* --ref"):
        read_systems(["nothing"])
    folder = study("empty")
    for scores in folder.glob("runs/*/*/utterances-test.jsonl"):
        scores.unlink()
    with pytest.raises(UserError, match="study empty has no finished confirm run"):
        read_systems(["empty"])
    with pytest.raises(UserError, match="name a finished confirm run"):
        read_systems(["empty0"])
    path = str(nemo(tmp_path / "x.jsonl", REFS))
    with pytest.raises(UserError, match="got 'x' 2 times"):
        read_systems([path, path])
