"""`from bench import Study`: documented frames, the best model, the page and the notebook."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench import Study
from bench.core.config import to_dict
from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.data.units import LETTERS
from bench.results.study import find_checkpoint
from bench.runs import RunIdentity, RunRecord
from bench.runs.run import BEST
from bench.runs.state import State
from bench.scoring import score
from bench.study.definition import StudyDefinition, begin_or_return, run_folder
from bench.study.space import load_budget
from bench.training import checkpoint
from bench.training.config import build_model
from bench.training.progress import Progress
from tests.studies import study_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
SMALL = {"model.width": 8, "model.num_layers": 1, "model.convs": [[8, 11, 3]]}
REFS = ("a red boat", "the old dog", "we went home", "small saws")
HEARD = {
    "ds-gru": ("a red boat", "the old dog", "we went hum", "small saws"),
    "ds-lstm": ("a bed boat", "the dog", "we want home", "small was"),
}


def record_run(
    folder: Path, definition: StudyDefinition, system: str, kind: str, slot: int
) -> None:
    params = definition.spaces[system].defaults()
    resolved = definition.trial(system, slot, params) if kind == "trial" else definition.confirm(system, slot, params)  # fmt: skip
    config, path = resolved.config, run_folder(folder, system, kind, slot)
    identity = RunIdentity(study=definition.name, system=system, kind=kind, slot=slot, attempt=1, seed=config.seed, params=params)  # fmt: skip
    record = RunRecord.open(path, identity, to_dict(config), {"hostname": "h"})
    wer = 0.2 if system == "ds-gru" else 0.6
    for epoch in (1, 2):
        metrics = {"train/loss": 1 / epoch, "valid/wer": wer / epoch}
        record.append(Progress(step=10 * epoch, epoch=epoch, num_epochs=2, seconds=epoch, metrics=metrics, evaluated=True))  # fmt: skip
    totals = {"best/valid/wer": wer / 2, "num_parameters": 9.0, "train_seconds": 2.0}
    if kind == "confirm":
        ids = [f"u{number}" for number in range(len(REFS))]
        speakers = ["ann", "ann", "bob", "bob"]
        record.write_scores("test", score(ids, REFS, HEARD[system], speakers, [1.0] * len(REFS)))
        checkpoint.save(path / BEST, config, build_model(config), None, LETTERS)
        totals |= {"test/wer": wer / 2, "test/cer": wer / 4, "test/num_opened": 1.0}
    record.close(State.FINISHED, totals)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole study of two systems at ``out/demo``."""
    root = tmp_path_factory.mktemp("study")
    budget = replace(load_budget("smoke"), num_trials=2, num_seeds=2)
    definition = study_of(
        ["ds-gru", "ds-lstm"],
        budget,
        corpus=CorpusConfig(name="spoken-tiny"),
        settings=SMALL,
        name="demo",
    )
    folder = root / "out" / "demo"
    begin_or_return(folder, definition)
    for system in definition.systems:
        for kind in ("trial", "confirm"):
            for slot in range(2):
                record_run(folder, definition, system, kind, slot)
    return root


@pytest.fixture
def study(place: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(place)
    return Study("demo")


def documented(heading: str) -> set[str]:
    """The columns that the page explains under `heading`."""
    page = (DOCS / "from-python.md").read_text()
    section = page.split(f"## `study.{heading}`\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize(
    "name", ["runs", "curves", "utterances", "comparison.systems", "comparison.pairs"]
)
def test_the_page_explains_every_column(study: Study, name: str) -> None:
    frame: Any = study
    for part in name.split("."):
        frame = getattr(frame, part)
    assert isinstance(frame, pd.DataFrame)
    assert not frame.empty
    assert documented(name) == set(frame.columns)


def test_the_printed_facts_are_those_recorded(study: Study) -> None:
    assert repr(study) == "Study('out/demo'): ds-gru, ds-lstm; 8 runs"
    assert sorted(study.runs["kind"]) == ["confirm"] * 4 + ["trial"] * 4
    trials = study.trials
    assert len(trials) == 4
    assert "params" not in trials
    assert (trials["optim.learning_rate"] == 0.0015).all()
    errors = study.utterances.groupby("system")[["substitutions", "deletions", "insertions"]].sum()
    assert errors.sum(axis=1).to_dict() == {"ds-gru": 2, "ds-lstm": 8}
    assert study.comparison.systems.set_index("system").loc["ds-gru", "wer_mean"] == pytest.approx(1 / 11)  # fmt: skip
    (pair,) = study.comparison.pairs.to_dict("records")
    assert pair["delta_wer"] == pytest.approx(3 / 11)


def test_the_best_model_is_that_of_the_command(study: Study, tmp_path: Path) -> None:
    best = study.best_model(device="cpu")
    assert best.checkpoint == find_checkpoint(None, "demo")
    assert best.config.variant == "ds-gru"
    assert study.best_model("ds-lstm").config.variant == "ds-lstm"
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.standard_normal(16_000), 16_000)
    assert study.transcribe(tmp_path / "a.wav") == best.transcribe(str(tmp_path / "a.wav"))
    with pytest.raises(UserError, match="unknown system 'ds-rnn'; known: ds-gru, ds-lstm"):
        study.best_model("ds-rnn")
    with pytest.raises(UserError, match="no study 'none'"):
        Study("none")


def test_a_study_without_confirm_runs_has_no_best_model(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("bench.results.study.best_checkpoint", lambda folder, runs: None)
    with pytest.raises(UserError, match="no finished confirm run of ds-gru; run"):
        study.best_model("ds-gru")


def test_the_notebook_runs_and_draws(study: Study) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    notebook = json.loads((DOCS / "compare.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in cells:
        assert cell["outputs"] == []
        exec("".join(cell["source"]), names)
    left, right = names["figure"].axes
    assert len(left.lines) == 4  # two seeds of two systems
    assert [text.get_text() for text in right.get_xticklabels()] == ["ds-gru", "ds-lstm"]
    names["plt"].close("all")


def test_importing_the_package_is_light() -> None:
    script = "import sys, bench; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)), hasattr(bench, 'nothing'))"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[]", "False"]
