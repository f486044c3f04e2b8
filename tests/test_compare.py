"""The command that compares, on the made-up systems of tests/golden."""

import csv
import io
import json
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from bench import compare
from bench.core.config import to_dict
from bench.core.files import write_json
from bench.results.systems import read_systems
from bench.runs.state import State
from bench.study.definition import FILE
from tests.studies import record_of, study_of

GOLDEN = Path(__file__).parent / "golden"
RunOfOurs = Callable[..., str]
Run = Callable[..., tuple[int, str, str]]
Study = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, run: Run) -> Run:
    monkeypatch.chdir(GOLDEN)
    return partial(run, "compare")


TRN = ("--ref", "ref.trn", "a.trn", "b.trn", "c.trn")


def test_trn_files_as_json(run: Run) -> None:
    code, out, err = run(*TRN, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [(s["name"], s["errors"], s["num_ref_words"]) for s in found["systems"]] == [
        ("a", 131, 1150), ("b", 180, 1150), ("c", 256, 1150),
    ]  # fmt: skip
    assert [s["wer"] for s in found["systems"]] == pytest.approx([0.113913, 0.156522, 0.222609], abs=1e-6)  # fmt: skip
    assert [s["se_utterances"] for s in found["systems"]] == pytest.approx([0.0101, 0.0107, 0.0152], rel=0.03)  # fmt: skip
    assert [s["se_speakers"] for s in found["systems"]] == pytest.approx([0.0172, 0.0178, 0.0294], rel=0.03)  # fmt: skip
    pairs = {(p["a"], p["b"]): p for p in found["pairs"]}
    assert [p["delta_wer"] for p in pairs.values()] == pytest.approx([0.0426, 0.1087, 0.0661], abs=5e-5)  # fmt: skip
    first = pairs["a", "b"]
    assert {"segments", "mean", "sd", "z", "p"} == set(first["mapsswe"])
    assert first["mapsswe"]["segments"] == pytest.approx(183, rel=0.02)
    assert first["mcnemar"] == {"b": 16, "c": 10, "p": pytest.approx(0.3269, abs=5e-5)}
    assert first["wilcoxon"] == {"p": pytest.approx(0.0234, abs=5e-5)}
    for what, low, high in (("utterances", 0.0157, 0.0684), ("speakers", 0.0150, 0.0658)):
        expected = {"low": pytest.approx(low, abs=0.001), "high": pytest.approx(high, abs=0.001)}
        assert first[what] == expected
    assert first["low"] < first["delta_wer"] < first["high"]
    assert found["not_comparable"] == []


def test_the_table_and_its_sentences(run: Run) -> None:
    code, out, err = run(*TRN)
    assert code == 0, err
    assert "Checkpoints differ: c has +10.9 points of WER against a" in out
    assert "whether their recipes differ is unknown (one run each)" in out
    assert "a, b, c: data, decoder, budget, precision, hardware unknown" in out
    assert "average ranks over 8 speakers: a 1.12, b 1.94, c 2.94" in out
    assert out.count("normalised") == 1
    assert "−10.9*" in out


def test_markdown_latex_and_csv(run: Run) -> None:
    _, markdown, _ = run(*TRN, "--markdown")
    assert "| a | 11.4 |" in markdown
    assert all(line.startswith("|") for line in markdown.splitlines() if line)
    _, latex, _ = run(*TRN, "--latex")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert r"WER \%" in latex
    _, text, _ = run(*TRN, "--csv")
    systems, pairs = (
        list(csv.DictReader(io.StringIO(part))) for part in text.strip().split("\n\n")
    )
    assert [float(row["errors"]) for row in systems] == [131, 180, 256]
    assert len(pairs) == 3


def test_the_same_seed_gives_the_same_bytes(run: Run) -> None:
    assert run(*TRN, "--json") == run(*TRN, "--json")
    assert run(*TRN, "--json") != run(*TRN, "--json", "--seed", "1")


def test_a_system_against_itself_has_no_variance_to_judge_by(run: Run, tmp_path: Path) -> None:
    (tmp_path / "twin.trn").write_text((GOLDEN / "a.trn").read_text())
    _, out, _ = run("--ref", "ref.trn", "a.trn", str(tmp_path / "twin.trn"), "--json")
    (pair,) = json.loads(out)["pairs"]
    assert (pair["delta_wer"], pair["verdict"], pair["p"]) == (0, "undecided", None)


@pytest.fixture
def run_of_ours(run_json: dict[str, object]) -> Callable[..., str]:
    """A run outside any study, which has read golden utterances as `hyps` says."""

    def write(folder: Path, hyps: str, **recorded: str) -> str:
        (system,) = read_systems([str(GOLDEN / f"{hyps}.trn")], GOLDEN / "ref.trn")
        ids = {"mlflow_run_id": "m", "data_digest": recorded["data"]}
        write_json(folder / "run.json", run_json | ids)
        write_json(folder / "environment.json", {"cpu": recorded["cpu"]})
        rows = system.scored.runs[0].assign(seconds=3.0).to_dict("records")
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "utterances-test.jsonl").write_text(lines)
        return str(folder)

    return write


def test_what_differs_is_refused_or_stamped_in_every_form(
    run: Run, tmp_path: Path, run_of_ours: RunOfOurs
) -> None:
    ours = run_of_ours(tmp_path / "ours", "a", data="d1", cpu="x")
    other = run_of_ours(tmp_path / "other", "b", data="d2", cpu="x")
    code, out, err = run(ours, other)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "differ in data" in err
    assert f"{tmp_path.name}/ours: d1, {tmp_path.name}/other: d2" in err
    assert "--force" in err
    stamp = "NOT COMPARABLE: the systems differ in data"
    for form in ("", "--markdown", "--csv", "--latex"):
        code, out, _ = run(ours, other, "--force", *filter(None, [form]))
        assert code == 0
        assert stamp in out.splitlines()[0], form
    assert json.loads(run(ours, other, "--force", "--json")[1])["not_comparable"] == ["data"]
    same = run_of_ours(tmp_path / "same", "b", data="d1", cpu="x")
    code, out, _ = run(ours, same)
    assert code == 0
    assert "NOT COMPARABLE" not in out


def test_a_study_beside_an_external_file(run: Run, tmp_path: Path, run_of_ours: RunOfOurs) -> None:
    ours = run_of_ours(tmp_path / "ours", "a", data="d1", cpu="x")
    rows = map(json.loads, Path(ours, "utterances-test.jsonl").read_text().splitlines())
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text(
        "".join(
            json.dumps({"audio_filepath": f"{r['id']}.wav", "text": r["ref"], "pred_text": ""})
            + "\n"
            for r in rows
        )
    )
    code, out, err = run(str(theirs), ours, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [s["wer"] for s in found["systems"]] == pytest.approx([1.0, 131 / 1150])
    assert found["pairs"][0]["verdict"] == "checkpoints differ"
    assert found["systems"][1]["se_speakers"] == pytest.approx(0.0172, rel=0.03), "our speakers"


def test_leakage_is_stamped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = "LEAKAGE between the splits of x: train/test same text (3)"
    monkeypatch.setattr(compare, "leaks", lambda systems, progress: (leak,))
    for form in ([], ["--markdown"], ["--csv"]):
        assert leak in run(*TRN, *form)[1].splitlines()[0]
    assert json.loads(run(*TRN, "--json")[1])["leakage"] == [leak]


def test_names_in_brackets_are_no_markup(run: Run, tmp_path: Path) -> None:
    for name in ("[red]x", "[-]y"):
        (tmp_path / f"{name}.trn").write_text((GOLDEN / "a.trn").read_text())
    code, out, err = run("--ref", "ref.trn", *map(str, tmp_path.glob("*.trn")))
    assert code == 0, err
    rows = out.splitlines()[1:3]
    assert sorted(row.split()[0] for row in rows) == ["[-]y", "[red]x"]


def test_one_form_at_a_time(run: Run) -> None:
    code, out, err = run(*TRN, "--json", "--csv")
    assert (code, out) == (2, "")
    assert "one form, got --json and --csv" in err


def test_one_system_is_no_comparison(run: Run) -> None:
    code, out, err = run("--ref", "ref.trn", "a.trn")
    assert (code, out) == (2, "")
    assert "a comparison needs two systems, got 1 (a)" in err


def test_what_is_saved_compares_again(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    code, before, _ = run(*TRN, "--save", str(kept), "--json")
    assert code == 0
    code, after, _ = run(str(kept), "--json")
    assert code == 0
    assert json.loads(after) == json.loads(before)


def lines_of(path: Path, *rows: tuple[str, str | None]) -> str:
    """A file of utterances a, b, …: what was said, what was understood."""
    named = zip("abcdefgh", rows, strict=False)
    texts = ({"id": id, "text": ref, "pred_text": hyp} for id, (ref, hyp) in named)
    path.write_text("".join(json.dumps(text) + "\n" for text in texts))
    return str(path)


def test_doubtful_input_is_reported_in_every_format(run: Run, tmp_path: Path) -> None:
    said = ("one two", "three [x]", "four", "five")
    one = lines_of(tmp_path / "1.jsonl", *((ref, ref) for ref in said))
    two = lines_of(tmp_path / "2.jsonl", *((ref, None) for ref in said))
    null = f"{two}: 4 of 4 hypotheses are null and count as empty, in {two}:1, {two}:2, {two}:3 and"
    symbols = f"{one}: symbols outside the alphabet count as they are written: in references '[' 1"
    _, out, err = run(one, two)
    assert null in out
    assert symbols in out
    assert err == ""
    for form in ("--json", "--csv", "--latex", "--markdown"):
        with caplog_of("bench.compare") as told:
            _, out, _ = run(one, two, form)
        assert any(line.startswith(null) for line in told), form
        assert any(line.startswith(symbols) for line in told), form
    notes = json.loads(run(one, two, "--json")[1])["notes"]
    assert notes[0].startswith(symbols)


@contextmanager
def caplog_of(logger: str) -> Iterator[list[str]]:
    """What is logged meanwhile."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(logger).addHandler(handler)
    try:
        yield told
    finally:
        logging.getLogger(logger).removeHandler(handler)


def test_utterances_that_some_system_lacks(run: Run, tmp_path: Path) -> None:
    lines = (GOLDEN / "a.trn").read_text().splitlines(keepends=True)
    (tmp_path / "short.trn").write_text("".join(lines[3:]))
    systems = ("--ref", "ref.trn", str(tmp_path / "short.trn"), "b.trn")
    code, out, err = run(*systems)
    assert (code, out) == (2, "")
    assert "(3 missing, 0 too many)" in err
    assert "--common" in err
    code, out, _ = run(*systems, "--common")
    assert code == 0
    assert "--common left out 3 of 80 utterances: short lacks 3" in out


def test_match_by_name(run: Run, tmp_path: Path) -> None:
    for name in ("ref", "b"):
        text = (GOLDEN / f"{name}.trn").read_text()
        (tmp_path / f"{name}.trn").write_text(text.replace("(spk", f"({name}/spk"))
    systems = ("--ref", str(tmp_path / "ref.trn"), "a.trn", str(tmp_path / "b.trn"))
    assert run(*systems)[0] == 2
    code, out, err = run(*systems, "--match-by", "name", "--json")
    assert code == 0, err
    assert [s["errors"] for s in json.loads(out)["systems"]] == [131, 180]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """``study(states)`` writes a study of ds-gru and ds-lstm; the states are of their runs."""

    def write(**states: str) -> str:
        labels = ["ds-gru", "ds-lstm"]
        definition = study_of(labels, data_digest="d", name="cells")
        folder = tmp_path / "out" / "cells"
        write_json(folder / FILE, to_dict(definition))
        (system,) = read_systems([str(GOLDEN / "a.trn")], GOLDEN / "ref.trn")
        rows = system.scored.runs[0].assign(seconds=3.0).to_dict("records")
        for label in labels:
            for run in ("trial-000", "trial-001", "confirm-0", "confirm-1"):
                state = states[label.replace("-", "_")]
                record = folder / "runs" / label / run
                kind, _, slot = run.partition("-")
                if state == "diverged" and kind == "confirm":
                    continue  # nothing to confirm
                own = record_of(record, system=label, kind=kind, slot=int(slot), data_digest="d")
                scored = {"test/wer": 0.1} if (state, kind) == ("finished", "confirm") else {}
                own.close(State(state), scored)
                if scored:
                    lines = "".join(json.dumps(row) + "\n" for row in rows)
                    (record / "utterances-test.jsonl").write_text(lines)
        return str(folder)

    return write


def test_a_study_that_is_over_and_has_no_verdict(run: Run, study: Study) -> None:
    code, out, err = run(study(ds_gru="diverged", ds_lstm="diverged"))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "study cells is over, and no verdict can be given on ds-gru, ds-lstm" in err
    assert "(ds-gru: 2 of 2 trials diverged; ds-lstm: 2 of 2 trials diverged)" in err
    assert "resume" not in err


def test_a_planned_system_without_a_result(run: Run, study: Study, tmp_path: Path) -> None:
    folder = study(ds_gru="finished", ds_lstm="failed")
    code, out, err = run(folder)
    assert (code, out) == (1, "")
    assert "no verdict can be given on ds-lstm: no confirm run was scored (ds-lstm: 2 of 2" in err
    code, out, err = run(folder, folder + "/runs/ds-gru/confirm-0")
    assert code == 1, "what there is is shown, and what is missing told"
    assert "ds-gru/confirm-0" in out
    assert "no verdict can be given on ds-lstm" in err


def test_rates_by_gender_from_the_files_columns(run: Run, tmp_path: Path) -> None:
    rng = random.Random(0)
    for name in ("one", "two"):
        rows = [
            {
                "id": f"u{n}", "speaker": f"s{n % 6}", "gender": "fm"[n % 6 < 2], "text": "a b c d",
                "pred_text": " ".join(w if rng.random() > 0.2 else "x" for w in "abcd"),
            }
            for n in range(60)
        ]  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(tmp_path / f"{name}.jsonl") for name in ("one", "two")]
    code, out, err = run(*files, "--by", "gender")
    assert code == 0, err
    assert "gender  utterances  speakers  words  one WER %" in out
    assert "ΔWER inside" in out
    _, out, _ = run(*files, "--by", "gender", "--json")
    found = json.loads(out)
    assert [(g["group"], g["system"], g["num_speakers"]) for g in found["groups"]] == [
        ("f", "one", 4), ("f", "two", 4), ("m", "one", 2), ("m", "two", 2),
    ]  # fmt: skip
    assert [(g["group"], g["differs"]) for g in found["gains"]] == [("f", False)]
    _, text, _ = run(*files, "--by", "gender", "--csv")
    assert len(text.strip().split("\n\n")) == 4
    assert run(*files, "--by", "gender", "--markdown")[1].count("| ---") >= 4
    code, _, err = run(*files, "--by", "age")
    assert code == 2
    assert "these utterances have no attribute 'age'; known: gender, length" in err


@pytest.mark.parametrize("margin", ["0", "-1", "nan", "two", "101"])
def test_a_margin_is_points_of_wer(run: Run, margin: str) -> None:
    code, _, err = run(*TRN, "--margin", margin)
    assert code == 2
    assert "--margin" in err


def test_a_wide_margin_makes_checkpoints_equivalent(run: Run) -> None:
    code, out, _ = run("--ref", "ref.trn", "a.trn", "b.trn", "--margin", "30", "--json")
    assert code == 0
    (pair,) = json.loads(out)["pairs"]
    assert pair["verdict"] == "checkpoints differ", "by less than the margin, and yet"
    assert pair["margin"] == 0.3
