"""Systems from studies, runs, JSON lines and trn files."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.core.config import to_dict
from bench.core.errors import NoVerdictError, UserError
from bench.core.files import write_json
from bench.data.text import text_digest
from bench.results.comparability import check_comparable, differing_costs
from bench.results.scored import ScoredSystem, aligned, claims_among, left_out
from bench.results.systems import NORMALISED, read_systems
from bench.scoring import score
from bench.study.definition import FILE
from bench.study.space import load_budget
from tests.studies import study_of, write_rows

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
OPENED = "2026-11-30T10:00:00+00:00"
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
        definition = study_of(budget=load_budget(budget), data_digest=data, name=name)
        folder = tmp_path / "out" / name
        write_json(folder / FILE, to_dict(definition))
        for seed, last in enumerate(("six", "sex")):
            run = folder / "runs" / "ds-gru" / f"confirm-{seed}"
            ids = {
                "mlflow_run_id": f"{name}{seed}", "data_digest": data, "opened_at": OPENED,
                "system": "ds-gru",
            }  # fmt: skip
            write_json(run / "run.json", run_json | ids)
            environment = {"cpu": hardware, "gpu": "unused", "version.jiwer": "4.0.0"}
            write_json(run / "environment.json", environment)
            hyps = ["one two", "four five", last]
            scores = score(REFS, REFS.values(), hyps, ["s1", "s1", "s2"], [1.0, 1.0, 1.0])
            write_rows(run / "utterances-test.jsonl", scores)
        return folder

    return write


def test_a_study_is_its_systems_with_a_run_per_seed(study: Callable[..., Path]) -> None:
    folder = study("first")
    for name in ("first", str(folder)):
        (system,) = read_systems([name])
        assert (system.name, len(system.scored.runs)) == ("ds-gru", 2)
        assert system.facts["data"] == "d1"
        assert system.facts["budget.num_trials"] == "2"
    run = folder / "runs" / "ds-gru" / "confirm-1"
    for name in (str(run), "first1", str(run / "utterances-test.jsonl")):
        (system,) = read_systems([name])
        assert (system.name, len(system.scored.runs)) == ("ds-gru/confirm-1", 1)
        assert list(system.scored.runs[0]["substitutions"]) == [0, 0, 1]


def test_an_unreadable_record_of_another_study_hides_no_run(study: Callable[..., Path]) -> None:
    older = study("first") / "runs" / "ds-gru" / "confirm-0" / "run.json"
    older.write_text(older.read_text().replace('"schema_version": ', '"schema_version": 9'))
    study("second")
    assert read_systems(["second1"])[0].name == "ds-gru/confirm-1"
    with pytest.raises(UserError, match="'first0' is none"):
        read_systems(["first0"])


def test_systems_of_two_studies_get_different_names(study: Callable[..., Path]) -> None:
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
    assert set(alone.facts) == {"data", "hardware", "metric", "costs.ranks"}


def test_missing_runs_are_reported(study: Callable[..., Path]) -> None:
    folder = study("first")
    few = "only; take it as a first look"
    assert read_systems(["first"])[0].notes == (f"first: an interval rests on 2 seeds {few}",)
    run = folder / "runs" / "ds-gru" / "confirm-1"
    (run / "utterances-test.jsonl").unlink()
    ended = {
        "schema_version": 1,
        "state": "diverged",
        "metrics": {},
        "error": None,
        "ended_at": OPENED,
        "wall_seconds": 1.0,
    }
    write_json(run / "summary.json", ended)
    assert read_systems(["first"])[0].notes == (
        "first/ds-gru: 1 of 2 confirm runs scored (1 of 2 confirm runs running, 1 of 2 confirm "
        "runs diverged)",
        f"first: an interval rests on 1 seed {few}",
        "1 of 2 confirm runs of ds-gru left no checkpoint to score (diverged) and count with a WER "
        "of 100 %",
    )


@pytest.mark.parametrize("state", ["failed", "diverged", "cut"])
def test_a_run_that_left_nothing_to_score_counts(study: Callable[..., Path], state: str) -> None:
    run = study("first") / "runs" / "ds-gru" / "confirm-1"
    (run / "utterances-test.jsonl").unlink()
    summary = {"state": state, "metrics": {}, "error": None, "ended_at": "t"}
    write_json(run / "summary.json", summary)
    (system,) = read_systems(["first"])
    first, lost = system.scored.runs
    assert set(lost["hyp"]) == {""}
    assert (lost["deletions"] == first["num_ref_words"]).all()
    assert f"({state}) and count with a WER of 100 %" in " ".join(system.notes)


def test_claims_go_by_the_names_that_systems_have_here(study: Callable[..., Path]) -> None:
    study("one")
    (system,) = read_systems(["one"])
    other = replace(system, scored=replace(system.scored, name="two/ds-gru"), study="two")
    lstm = replace(system, scored=replace(system.scored, name="ds-lstm"), study="two")
    claimed = [
        replace(s, claims=(("ds-gru", "ds-lstm"), ("ds-rnn", "ds-gru"))) for s in (other, lstm)
    ]
    assert claims_among([system, *claimed]) == (("two/ds-gru", "ds-lstm"),)


def test_external_json_lines_are_normalised_and_scored(tmp_path: Path) -> None:
    hyps = {"s1-1": "One, two THREE!", "s1-2": "four", "s2-1": ""}
    (system,) = read_systems([str(nemo(tmp_path / "x.jsonl", hyps, speaker="ann"))])
    run = system.scored.runs[0]
    assert list(run["deletions"]) == [0, 1, 1]
    assert set(run["speaker"]) == {"ann"}
    assert system.notes == (NORMALISED,)
    assert system.facts == {"text": text_digest(), "metric": system.facts["metric"]}


def test_symbols_outside_our_alphabet_count_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"key": 7, "text": "Größe 42 ½", "pred_text": "größe 43 ½"}\n')
    (run,) = read_systems([str(path)])[0].scored.runs
    assert (run["id"][0], run["hits"][0], run["substitutions"][0]) == ("7", 2, 1)


def test_arrays_tables_and_gzip_are_read(tmp_path: Path) -> None:
    rows = [
        {"id": id, "text": ref, "pred_text": ref, "speaker_id": "ann"} for id, ref in REFS.items()
    ]
    forms = {
        "a.json": json.dumps(rows).encode(),
        "b.jsonl.gz": gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()),
        "c.csv": "".join(
            ",".join(row) + "\n" for row in [rows[0], *(r.values() for r in rows)]
        ).encode(),
    }
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
    systems = read_systems([str(tmp_path / name) for name in forms])
    for outcome in aligned(systems, common=False):
        assert list(outcome.runs[0]["hyp"]) == [REFS[id] for id in sorted(REFS)]
        assert set(outcome.runs[0]["speaker"]) == {"ann"}


def test_a_recording_names_its_utterance_as_in_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('\ufeff{"audio_filepath": "./clips/s1.wav", "text": "a", "pred_text": "a"}\r\n')
    assert list(read_systems([str(path)])[0].scored.runs[0]["id"]) == ["clips/s1"]


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
    run = system.scored.runs[0]
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
        (b"\xff\xfe", "it is UTF-16 text; convert it"),
        (b"{", r":1: each row is one JSON object, got '{'"),
        (b"[1]\n", "item 1: each row is one JSON object"),
        (GOOD.encode() + b"\n" + GOOD.encode(), r":3: 'a' is there already"),
        (b'{"id": "a", "text": "x"}', r":1: an utterance has text, pred_text and an id"),
        (b'{"text": "x", "pred_text": "y"}', "got the keys pred_text, text"),
        (b'{"id": "a", "text": 3, "pred_text": "y"}', r":1: an utterance has"),
        (b'{"id": null, "text": "x", "pred_text": "y"}', r":1: an utterance has"),
        (b'{"id": "a", "text": null, "pred_text": "y"}', r":1: .*, got text: None; add"),
        (b'{"id": "a", "text": "x", "pred_text": ["y"]}', r":1: .*, got pred_text: \['y'\]; add"),
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
        ("six ( )\n", "a line reads"),
        ("six (s2-1) x\n", "a line reads"),
        (
            ";; a\n{ six / sex (s2-1)\n",
            r":2: alternatives read `\{ one / another \}`, but an opening brace",
        ),
        ("six } (s2-1)\n", ":1: alternatives read .* but a closing brace has no opening one"),
        ("{ six / } (s2-1)\n", ":1: alternatives read .* each alternative needs a word, or @"),
        ("six (s2-1)\nsix (S2-1)\n", ":2: 'S2-1' is there already .*hyp.trn:1: 's2-1'"),
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


def counts(system: ScoredSystem) -> tuple[int, int]:
    """Errors and reference words."""
    (run,) = aligned([system], common=True)[0].runs
    errors = run[["substitutions", "deletions", "insertions"]].to_numpy().sum()
    return int(errors), int(run["num_ref_words"].sum())


MARKED = """\
;; made for a test
(uh) bring the lamp (s1-001)
put it on the table (laughter) (s1-002)
we saw {two / too} boats (s2-001)
he sto- stopped there (s2-002)
"""
HEARD = """\
bring the lamp (s1-001)
put it on the table (s1-002)
we saw two boats (s2-001)
he stopped there (s2-002)
"""


def trn(tmp_path: Path, **texts: str) -> list[str]:
    for name, text in texts.items():
        (tmp_path / f"{name}.trn").write_text(text)
    return [str(tmp_path / f"{name}.trn") for name in texts]


def test_marks_are_read_as_sclite_reads_them(tmp_path: Path) -> None:
    ref, a, b = trn(tmp_path, ref=MARKED, a=HEARD, b=HEARD.replace("lamp", "lamb"))
    assert [counts(s) for s in read_systems([a, b], Path(ref))] == [(1, 18), (2, 18)]


def test_systems_scored_on_different_alternatives_get_one_reference(tmp_path: Path) -> None:
    ref, a, b = trn(
        tmp_path,
        ref="we saw { two big / too } boats (s-1)\nyes (s-2)\n",
        a="we saw two big boats (s-1)\nyes (s-2)\n",
        b="he saw too boats (s-1)\nno (s-2)\n",
    )
    outcomes = aligned(read_systems([a, b], Path(ref)), common=False)
    refs = [list(outcome.runs[0]["ref"]) for outcome in outcomes]
    assert refs == [["we saw two big boats", "yes"]] * 2
    assert [list(outcome.runs[0]["num_ref_words"]) for outcome in outcomes] == [[5, 1]] * 2
    for outcome, errors in zip(outcomes, ([0, 0], [1, 1]), strict=True):
        run = outcome.runs[0]
        again = score(run["id"], run["ref"], run["hyp"], run["speaker"], run["seconds"])
        assert [row.substitutions + row.deletions + row.insertions for row in again] == errors


def test_lines_as_windows_and_old_tools_write_them(tmp_path: Path) -> None:
    text = "\ufeff;; a comment\r\nSix {Sex / @} (S2-1 )\r\n\r\none (s1  x)\r\n"
    ref, hyp = trn(tmp_path, ref=text, hyp="six (s2-1)\none (S1 X)\n")
    (system,) = read_systems([hyp], Path(ref))
    assert list(system.scored.runs[0]["id"]) == ["S2-1", "s1 x"], "as the reference has them"
    assert counts(system) == (0, 2)


def test_an_empty_reference_counts_its_insertions(tmp_path: Path) -> None:
    ref, a, b = trn(
        tmp_path,
        ref="six (s-1)\n(s-2)\n", a="six (s-1)\n(s-2)\n", b="six (s-1)\nthank you (s-2)\n",
    )  # fmt: skip
    assert [counts(s) for s in read_systems([a, b], Path(ref))] == [(0, 1), (2, 1)]
    with pytest.raises(UserError, match="need a reference word, the 1 references have none"):
        aligned(read_systems([*trn(tmp_path, c="x (s-2)\n")], Path(ref), common=True), common=True)
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text('{"id": "a", "text": "", "pred_text": "x"}\n' + GOOD.replace('"a"', '"b"'))
    two.write_text(one.read_text().replace('""', '"y"'))
    with pytest.raises(UserError, match="'a' is '' in one and 'y' in two"):
        aligned(read_systems([str(one), str(two)]), common=False)


def test_a_null_hypothesis_counts_as_empty_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(GOOD.replace('"y"', "null") + GOOD.replace('"a"', '"b"'))
    (system,) = read_systems([str(path)])
    assert list(system.scored.runs[0]["hyp"]) == ["", "y"]
    assert system.warnings == (
        f"{path}: 1 of 2 hypotheses are null and count as empty, in {path}:1",
    )


def test_symbols_outside_the_alphabet_are_reported_with_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"id": "a", "text": "(maybe) «later» [x]", "pred_text": "maybe 1/1 later é"}\n'
    )
    (system,) = read_systems([str(path)])
    (warning,) = system.warnings
    assert "in references '(' 1, ')' 1, '[' 1, ']' 1; in hypotheses '1' 2, '/' 1, 'é' 1" in warning
    assert read_systems([str(nemo(tmp_path / "y.jsonl", REFS))])[0].warnings == ()


def test_files_of_one_name_are_distinguished_by_their_folders(tmp_path: Path) -> None:
    names = []
    for folder in ("one/test", "two/test", "two/best"):
        (tmp_path / folder).mkdir(parents=True)
        names.append(str(nemo(tmp_path / folder / "test_pred.json", REFS)))
    assert [s.name for s in read_systems(names[:2])] == [
        "one/test/test_pred",
        "two/test/test_pred",
    ]
    assert [s.name for s in read_systems(names[1:])] == ["test/test_pred", "best/test_pred"]
    other = str(nemo(tmp_path / "two/best/test_pred.jsonl", REFS))
    assert [s.name for s in read_systems([names[2], other])] == [
        "test_pred.json",
        "test_pred.jsonl",
    ]
    with pytest.raises(UserError, match="got 'test_pred' 2 times"):
        read_systems([names[0], f"{tmp_path}/one/../one/test/test_pred.json"])


def test_utterances_are_matched_by_name(tmp_path: Path) -> None:
    here = nemo(tmp_path / "here.jsonl", REFS)
    there = tmp_path / "there.jsonl"
    there.write_text(here.read_text().replace('path": "', 'path": "/data/test/'))
    systems = [str(here), str(there)]
    with pytest.raises(UserError, match=r"none in common .*--match-by name"):
        aligned(read_systems(systems), common=False)
    for outcome in aligned(read_systems(systems, by_name=True), common=False):
        assert list(outcome.runs[0]["id"]) == sorted(REFS)
    here.write_text(GOOD.replace('"a"', '"x/a"') + GOOD.replace('"a"', '"y\\\\a"'))
    with pytest.raises(UserError, match=r"here has 'x/a' and 'y\\\\a', both named 'a'"):
        read_systems([str(here)], by_name=True)
    ref, hyp = trn(tmp_path, ref="six (a/s-1)\n", hyp="six (b/S-1)\n")
    (system,) = read_systems([hyp], Path(ref), by_name=True)
    assert list(system.scored.runs[0]["id"]) == ["s-1"]


def test_common_leaves_out_what_a_trn_file_lacks_and_reports_the_number(tmp_path: Path) -> None:
    ref, a, b = trn(
        tmp_path,
        ref="open the door (a-1)\nclose it again (a-2)\nthank you (b-1)\n",
        a="open the door (a-1)\nclose it again (a-2)\n",
        b="open a door (a-1)\nclose it again (a-2)\n(b-1)\nmore (b-2)\n",
    )
    systems = read_systems([a, b], Path(ref), common=True)
    assert [counts(replace(s, unpaired=frozenset())) for s in systems] == [(0, 6), (3, 8)]
    assert [len(o.runs[0]) for o in aligned(systems, common=True)] == [2, 2]
    assert left_out(systems) == "--common left out 2 of 4 utterances: a lacks 2, b lacks 1"
    with pytest.raises(UserError, match=r"have no utterance in common .such as 'c-1' and 'a-1'"):
        read_systems(trn(tmp_path, c="x (c-1)\n"), Path(ref), common=True)


def test_speakers_of_trn_ids_without_a_dash(tmp_path: Path) -> None:
    path = tmp_path / "x.trn"
    path.write_text("six (s2_1)\nsix (s3_a-1)\nsix (s4)\n")
    (system,) = read_systems([str(path)], path)
    assert list(system.scored.runs[0]["speaker"]) == ["s2", "s3_a", "s4"]


def test_what_is_no_system_is_refused(study: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.trn is a trn file, which needs .* --ref REF\.trn"):
        read_systems([str(GOLDEN / "a.trn")])
    with pytest.raises(UserError, match=r"'nothing' is none; .*bench\.ls studies.* --ref"):
        read_systems(["nothing"])
    folder = study("empty")
    for scores in folder.glob("runs/*/*/utterances-test.jsonl"):
        scores.unlink()
    with pytest.raises(NoVerdictError, match=r"study empty is not over, and no verdict .* ds-gru"):
        read_systems(["empty"])
    with pytest.raises(UserError, match="name a finished confirm run"):
        read_systems(["empty0"])
    path = str(nemo(tmp_path / "x.jsonl", REFS))
    with pytest.raises(UserError, match="got 'x' 2 times"):
        read_systems([path, path])


def test_what_costs_depend_on_makes_no_study_incomparable(
    study: Callable[..., Path], tmp_path: Path
) -> None:
    """On a GPU recurrences of 256 units take another path than those of 512, on a CPU cells that
    torch does not have; error rates stay comparable."""

    def computed(name: str, recurrence: str, **run: int) -> Path:
        folder = study(name)
        for path in folder.glob("runs/*/*/run.json"):
            told = {"recurrence": recurrence, "ctc": "kernel.c"}
            (path.parent / "paths.json").write_text(json.dumps(told))
            path.write_text(json.dumps({**json.loads(path.read_text()), **run}))
        return folder

    computed("narrow", "Triton 3.8.0")
    computed("wide", "cuDNN", num_ranks=2)
    systems = read_systems(["narrow", "wide"])
    costs = {key: value for key, value in systems[-1].facts.items() if key.startswith("costs.")}
    assert costs == {"costs.recurrence": "cuDNN", "costs.ctc": "kernel.c", "costs.ranks": "2"}
    assert check_comparable(systems, force=False) == ()
    (sentence,) = differing_costs(systems)
    assert sentence.startswith("COSTS NOT COMPARABLE: the systems differ in devices of a run (")
    assert "what computed recurrences (" in sentence
    assert differing_costs(systems[:1]) == ()
