"""Each command as its user meets it: help, bad input (one line, exit code 2), results as JSON."""

import importlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench import sweep, train
from bench.core.config import to_dict
from bench.core.files import write_json
from bench.core.paths import OUT
from bench.data.corpora import CORPORA
from bench.data.utterance import Corpus
from bench.queue.lease import Lease, LeaseWatch
from bench.runs.run import RunPlan
from bench.runs.state import RunEnd, State
from bench.study.definition import FILE, StudyDefinition
from bench.study.request import command_of, definition_of
from bench.training.progress import Progress
from tests.studies import study_of
from variants import VARIANTS

VERBS = (
    "sweep",
    "train",
    "evaluate",
    "transcribe",
    "report",
    "compare",
    "ls",
    "speed",
    "watch",
    "replay",
    "sync",
    "reap",
    "deploy",
    "check",
)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Run:
    """Run a command in a folder of its own; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """bench.train answers signals in its own way; it runs in this process."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("verb", VERBS)
def test_help_begins_with_an_example(run: Run, verb: str) -> None:
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert out.startswith(f"  python -m bench.{verb}")
    assert "--json" in out


def manifest(folder: Path, rows: list[str]) -> str:
    path = folder / "m.jsonl"
    path.write_text("".join(row + "\n" for row in rows))
    return f"manifest:{path}"


def row(audio: str, text: str, split: str, id: str = "") -> str:
    named = {"id": id} if id else {}
    return json.dumps({"audio_filepath": audio, "duration": 1.0, "text": text, "split": split, **named})  # fmt: skip


@pytest.fixture
def good(tone_corpus: Corpus) -> list[str]:
    return [row(str(u.audio), u.text, u.split) for u in tone_corpus.utterances]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--variant", "ds-gu"], "unknown variant 'ds-gu'; did you mean ds-gru"),
        (["--variant", "ds-gru", "--variant", "ds-gru"], "got 'ds-gru' twice"),
        (["--variant", "ds-gru", "--budget", "quik"], "unknown budget 'quik'; did you mean quick"),
        (["--variant", "ds-gru", "--corpus", "spokn"], "unknown corpus 'spokn'; did you mean spoken"),
        (["--variant", "ds-gru", "--corpus", "spoken+spokn"], "'spokn' is no corpus"),
        (["--variant", "ds-gru", "--corpus", "spoken+an4+spoken"], "a corpus is joined once, got spoken twice"),
        (["--variant", "ds-gru", "--set", "optim.learning_rat=1"], "did you mean learning_rate"),
        (["--variant", "ds-gru", "--set", "optim.learning_rate=-1"], "learning_rate must be above 0, got -1"),
        (["--variant", "ds-gru", "--set", "training.num_epochs=99"], "what the budget or the study fixes"),
        (["--variant", "ds-gru", "--set", "nonsense"], "a setting reads key=value"),
        (["--variant", "ds-gru", "--workers", "0"], "--workers must be at least 1, got 0"),
        (["--variant", "ds-gru", "--device", "cuda"], "--device cuda needs a CUDA device"),
        (["--variant", "ds-gru", "--match", "2M"], "--match reads params=NUMBER or macs=NUMBER, got '2M'"),
        (["--variant", "ds-gru", "--match", "params=9k"], "has 345,697 at width 1"),
        ([], "a sweep needs --variant V or --study NAME, got neither"),
        (["--study", "dept"], "unknown study 'dept'; did you mean depth"),
        (["--study", "depth", "--set", "model.norm=none"], "would change what makes layers-1-batch differ"),
        (["--study", "width", "--match", "params=1M"], "--match solves model.width, which system width-512 sets"),
        (["--variant", "ds-gru", "--corpus", "librispeech:/nowhere"], "/nowhere"),
        (["--variant", "ds-gru", "--corpus", "manifest:https://host/m.jsonl"], "got the address https://host/m.jsonl; download it"),
        (["--variant", "ds-gru", "--corpus", "manifest:~nobody-of-that-name/m.jsonl"], "the home folder of"),
        (["--variant", "ds-gru", "--corpus", ""], "--corpus has an empty value"),
        (["--variant", "ds-gru", "--budget="], "--budget has an empty value"),
        (["--variant", "ds-gru", "--grace", "nan"], "--grace must be finite, got nan"),
        (["--variant", "ds-gru", "--grace", "0"], "--grace must be at least 1, got 0"),
        (["--variant", "ds-gru", "--name", "../../x"], "--name: the name of a study begins with a letter or digit"),
        (["--variant", "ds-gru", "--name", "train"], "--name: 'train' is the folder of something else"),
        (["--variant", "ds-gru", "--name", "a" * 300], "has at most 200 bytes, got 300"),
        (["--variant", "ds-gru", "--set", "model.width=99999999999"], "cannot be built in this size"),
        (["--variant", "ds-gru", "--set", "model.width=9999999"], "the weights of a network must fit in memory"),
        (["--variant", "ds-gru", "--set", "model.num_layers=99999999"], "num_layers must be at most 1000"),
        (["--variant", "ds-gru", "--set", "features.num_bins=99999999999"], "num_bins must leave each mel filter"),
        (["--variant", "ds-gru", "--set", "model.width={}"], "a setting gives model.width a value, got {}"),
        (["--variant", "ds-gru", "--corpus", "manifest:/nowhere.jsonl"], "/nowhere.jsonl"),
    ],
)  # fmt: skip
def test_bad_arguments_of_sweep(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run("sweep", *arguments)
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1, "one line"
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a run needs --variant V or --recipe NAME, got neither"),
        (["--recipe", "an5"], "recipe 'an5'"),
        (["--variant", "ds-gruu"], "did you mean"),
        (["--variant", "ds-gru", "--budget", "quik"], "quick"),
        (["--variant", "ds-gru", "--set", "seed=4"], "--seed sets the seed, got --set seed=4"),
        (
            ["--variant", "ds-gru", "--set", "model.width=9999999"],
            "the weights of a network must fit in memory",
        ),
    ],
)
def test_bad_arguments_of_train(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run("train", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1, "one line"
    assert out == ""


@pytest.mark.usefixtures("same_signals")
@pytest.mark.parametrize(
    ("sent", "code"),
    [([signal.SIGTERM], 75), ([signal.SIGTERM] * 2, 75), ([signal.SIGINT], 130), ([signal.SIGINT] * 2, 130)],
)  # fmt: skip
def test_the_exit_code_of_a_stopped_train_distinguishes_restart(
    run: Run, tmp_path: Path, good: list[str], monkeypatch: pytest.MonkeyPatch,
    sent: list[signal.Signals], code: int,
) -> None:  # fmt: skip
    def execute_run(_: RunPlan, report: Callable[[Progress], State | None], **__: object) -> RunEnd:
        for one in sent:
            signal.raise_signal(one)
        state = report(
            Progress(step=1, epoch=0.5, num_epochs=1, seconds=1.0, metrics={}, evaluated=False)
        )
        assert state == State.KILLED
        return RunEnd(state, None)

    monkeypatch.setattr(train, "execute_run", execute_run)
    ended = run("train", "--variant", "ds-gru", "--corpus", manifest(tmp_path, good))
    assert ended[0] == code, ended[2]
    assert not list(tmp_path.glob("out/train/*/lease.json"))


@pytest.fixture
def same_signals() -> Iterator[None]:
    """What a command does with signals ends with the test, and begins as in a terminal: a shell's
    background job ignores SIGINT."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.usefixtures("same_signals")
def test_train_that_diverged_ends_with_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, good: list[str]
) -> None:
    monkeypatch.setattr(train, "execute_run", lambda *_, **__: RunEnd(State.DIVERGED, None))
    corpus = manifest(tmp_path, good)
    code, out, err = run("train", "--variant", "ds-gru", "--corpus", corpus, "--json")
    assert code == 1, err
    assert json.loads(out)["state"] == "diverged"
    assert json.loads(out)["checkpoint"] is None
    assert "the run diverged" in err.splitlines()[-1]


@pytest.mark.usefixtures("same_signals")
def test_sweep_without_a_verdict_ends_with_1_and_shows_what_there_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, good: list[str]
) -> None:
    class NothingRuns:
        """Every trial has diverged, as far as the launcher can tell."""

        def __init__(self, *arguments: object, **more: object) -> None: ...

        def run(self, check: object) -> None: ...

    monkeypatch.setattr(sweep, "Launcher", NothingRuns)
    monkeypatch.setattr(sweep, "publish", lambda *arguments: None)
    arguments = ["--variant", "ds-gru", "--corpus", manifest(tmp_path, good), "--budget", "smoke"]
    for form in ([], ["--json"]):
        code, out, err = run("sweep", *arguments, *form)
        assert code == 1, err
        assert "No run has been recorded yet: the study is empty." in out
        assert "no verdict can be given on ds-gru: no confirm run was scored" in err


def test_train_looks_at_a_run_only_once_it_has_it(
    run: Run, tmp_path: Path, good: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    def attempts(folder: Path) -> int:
        held.append(LeaseWatch().is_held(folder))
        return 0

    monkeypatch.setattr(train, "attempts_so_far", attempts)
    monkeypatch.setattr(train, "execute_run", lambda *_, **__: RunEnd(State.FINISHED, None))
    code, _, err = run("train", "--variant", "ds-gru", "--corpus", manifest(tmp_path, good))
    assert (code, held) == (0, [True]), err


def test_train_refuses_a_run_that_another_has_and_names_that(
    run: Run, tmp_path: Path, good: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--variant", "ds-gru", "--corpus", manifest(tmp_path, good)]
    ended: list[tuple[int, str, str]] = []

    def execute_run(*_: object, **__: object) -> RunEnd:
        ended.append(run("train", *arguments))
        return RunEnd(State.FINISHED, None)

    monkeypatch.setattr(train, "execute_run", execute_run)
    assert run("train", *arguments)[0] == 0
    ((code, _, err),) = ended
    assert (code, err.count("\n")) == (2, 1)
    assert f"is held by process {os.getpid()} of" in err


def test_a_train_that_lost_its_lease_ends_with_one_line(
    run: Run, tmp_path: Path, good: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute_run(
        plan: RunPlan, *_: object, check_lease: Callable[[], None], **__: object
    ) -> None:
        with Lease.take(plan.folder, grace_seconds=60.0):
            check_lease()

    monkeypatch.setattr(train, "execute_run", execute_run)
    code, _, err = run("train", "--variant", "ds-gru", "--corpus", manifest(tmp_path, good))
    assert (code, err.count("\n")) == (75, 1), err
    assert "was given to another worker while this process gave no sign of life" in err


def test_sqlite_for_several_workers_is_refused_before_the_data_are_read(run: Run) -> None:
    arguments = ["--variant", "ds-gru", "--corpus", "manifest:none.jsonl", "--workers", "4"]
    code, out, err = run("sweep", *arguments, "--storage", "sqlite:///q.db")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "SQLite holds a study of one worker only, got 4" in err


@pytest.mark.parametrize("verb", ["sweep", "train"])
def test_an_address_that_is_none_is_refused_before_the_data_are_read(
    run: Run, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "localhost:5000")
    code, _, err = run(verb, "--variant", "ds-gru", "--corpus", "manifest:none.jsonl")
    assert code == 2
    assert "got 'localhost:5000'; write http://localhost:5000" in err
    assert err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "memory ran out (MemoryError)"),
        (PermissionError(13, "Permission denied", "x.jsonl"), "x.jsonl: Permission denied"),
        (OSError(28, "No space left on device", "f"), "f cannot be written (No space left on device)"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/x']"), "set TMPDIR to one"),
    ],
)  # fmt: skip
def test_errors_of_the_machine_are_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    from bench import ls

    def refuse(_: object) -> None:
        raise error

    monkeypatch.setattr(ls, "main", refuse)
    code, out, err = run("ls", "variants")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert line in err


def test_bad_data(run: Run, tmp_path: Path, good: list[str]) -> None:
    empty, corrupt = tmp_path / "empty.wav", tmp_path / "corrupt.wav"
    soundfile.write(empty, np.zeros(0, np.float32), 16_000)
    corrupt.write_bytes(b"RIFF no more")
    first = json.loads(good[0])["audio_filepath"]
    cases = {
        "is one JSON object, got": [*good, "{not json"],
        "does not exist": [*good, row("/nowhere.wav", "a", "train")],
        "corrupt.wav": [*good, row(str(corrupt), "a", "train")],
        "empty.wav": [*good, row(str(empty), "a", "train")],
        "'7'": [*good, row(first, "a 7", "train", id="seven")],
        "same": [*good, row(first, "a", "train", id="same"), row(first, "b", "train", id="same")],
        "a study needs a test split": [line for line in good if '"test"' not in line],
        "a study needs a valid split": [line for line in good if '"valid"' not in line],
    }
    for message, rows in cases.items():
        code, _, err = run("sweep", "--variant", "ds-gru", "--corpus", manifest(tmp_path, rows))
        assert code == 2, err
        assert message in err
        assert err.count("\n") == 1, err


def test_an_utterance_too_short_for_its_text_is_left_out_or_ends_the_command(
    run: Run, tmp_path: Path, good: list[str]
) -> None:
    rows = [line.replace('"text": "', '"text": "' + "abc " * 30) if '"train"' in line else line for line in good]  # fmt: skip
    code, _, err = run("sweep", "--variant", "ds-gru", "--corpus", manifest(tmp_path, rows))
    assert code == 2
    assert "no train utterance has as many output frames as its text needs" in err


def test_ls_variants_as_a_program_reads_it(run: Run) -> None:
    code, out, _ = run("ls", "variants", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [r["name"] for r in rows] == list(VARIANTS)
    for r in rows:
        assert {"name", "summary", "source", "num_parameters", "macs_per_second_of_audio"} <= set(r)
        assert r["num_parameters"] > 0
        assert (r["streams"] == "yes") == (r["cannot_stream"] == "")
        assert r["macs_per_second_of_audio"] > 0


def test_ls_corpora_says_how_several_are_joined(run: Run) -> None:
    code, out, _ = run("ls", "corpora", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [row["name"] for row in rows] == [*CORPORA, "A+B"]
    assert all(row["summary"] and row["source"] for row in rows)


def test_ls_shows_the_width_that_a_match_asks_for_or_why_there_is_none(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import variants

    few = {name: VARIANTS[name] for name in ("ds-gru", "ds-bilstm", "deepspeech2")}
    monkeypatch.setattr(variants, "VARIANTS", few)
    code, out, _ = run("ls", "variants", "--match", "params=2M", "--json")
    assert code == 0
    gru, bilstm, large = json.loads(out)
    assert (gru["width"], bilstm["width"]) == (306, 179)
    for row in (gru, bilstm):
        assert row["num_parameters"] == pytest.approx(2e6, rel=0.01)
        assert row["macs_per_second_of_audio"] > 0
        assert row["unmatched"] == ""
    assert (large["width"], large["num_parameters"]) == (None, None)
    assert "2,270,814 at width 1" in large["unmatched"]
    code, out, _ = run("ls", "variants", "--match", "params=2M")
    assert code == 0
    assert "2,000,627" in out
    code, _, err = run("ls", "corpora", "--match", "params=2M")
    assert code == 2
    assert "--match goes with config or variants, got corpora" in err


def test_ls_shows_names_whole_and_long_texts_below(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    code, out, _ = run("ls", "budgets")
    assert code == 0
    lines = out.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("standard "))
    assert lines[place].split()[:4] == ["standard", "32", "15", "30"]
    assert (
        lines[place + 1]
        == "    Five seeds, for a comparison among colleagues: about a night for five variants."
    )
    assert [line.split()[-1] for line in lines[:3]] == ["max", "warmup", "pruner"]


def test_ls_questions_as_a_program_reads_them(run: Run) -> None:
    code, out, _ = run("ls", "questions", "--json")
    assert code == 0
    cells = next(row for row in json.loads(out) if row["name"] == "cells")
    assert cells["systems"] == "rnn gru lstm birnn bigru bilstm"
    assert cells["match"] == "params=1500k"
    assert cells["claim"]


def test_a_study_names_its_corpus_and_budget_unless_the_command_line_does() -> None:
    from bench import sweep

    def definition(*arguments: str) -> StudyDefinition:
        options = sweep.build_parser().parse_args(["--study", "look-ahead", *arguments])
        return definition_of(options, "cpu")

    own = definition()
    assert (own.corpus.name, own.budget.name, str(own.match)) == ("spoken", "standard", "params=1500k")  # fmt: skip
    other = definition("--corpus", "spoken-tiny", "--budget", "smoke", "--match", "params=1M")
    assert (other.corpus.name, other.budget.name, str(other.match)) == ("spoken-tiny", "smoke", "params=1M")  # fmt: skip
    again = command_of(other).removeprefix("python -m bench.sweep ").split()
    assert definition_of(sweep.build_parser().parse_args(again), "cpu") == other


def test_a_registered_model_has_a_name_that_mlflow_takes(run: Run) -> None:
    code, _, err = run("sweep", "--variant", "ds-gru", "--register", "voices/mine")
    assert code == 2
    assert "--register: the name of a registered model begins with" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("what", ["corpora", "budgets", "questions", "studies", "variants"])
def test_ls_for_people(run: Run, what: str) -> None:
    code, out, _ = run("ls", what)
    assert code == 0
    assert out.strip()


def test_ls_lists_studies_beside_one_that_cannot_be_read(run: Run) -> None:
    for name in ("old", "new"):
        write_json(OUT / name / FILE, to_dict(study_of(name=name)))
    (OUT / "old" / FILE).write_text("{}")
    code, out, err = run("ls", "studies")
    assert code == 0
    assert out.splitlines()[1].startswith("new ")
    assert "out/old/study.json is damaged or was written by another version" in err


def test_commands_that_need_a_study_say_so(run: Run) -> None:
    for verb, *arguments in (["transcribe", "x.wav"], ["report"], ["evaluate"]):
        code, _, err = run(verb, *arguments)
        assert code == 2
        assert "python -m bench.sweep" in err
    code, _, err = run("report", "no-such-study")
    assert code == 2
    assert "no study 'no-such-study'" in err
    code, _, err = run("transcribe", "x.wav", "--checkpoint", "none.pt")
    assert code == 2
    assert "none.pt" in err


@pytest.mark.parametrize("verb", ["train", "sweep", "speed"])
def test_deterministic_is_a_setting_among_others(verb: str) -> None:
    parser = importlib.import_module(f"bench.{verb}").build_parser()
    given = ["--set", "model.width=8", "--deterministic"]
    assert parser.parse_args(given).settings == ["model.width=8", "training.deterministic=true"]
    assert parser.parse_args([]).settings == []
