"""Confirm runs under test conditions: scored once, counted in the ledger, with the run's own features."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.core.config import updated
from bench.data.corpora import CorpusConfig
from bench.data.store import open_store
from bench.data.units import LETTERS
from bench.data.utterance import Corpus
from bench.runs.layout import BEST, LAST, OPENED, ScoreLine, read_lines
from bench.study import robustness
from bench.study.decoding import scored_checkpoints
from bench.study.definition import StudyDefinition
from bench.study.robustness import load_plan, score_under_conditions, scores_file
from bench.training.checkpoint import save, write
from bench.training.config import build_model, default_run_config
from tests.studies import study_of

TINY = {
    "features.num_bins": 24,
    "features.normalize": "corpus",
    "model.convs": [[24, 5, 2]],
    "model.num_layers": 1,
    "model.width": 24,
}


@pytest.fixture
def study(tmp_path: Path, tone_corpus: Corpus) -> tuple[Path, StudyDefinition]:
    """A study with one scored confirm run, whose checkpoint hears nonsense."""
    excluded = (tone_corpus.split("test")[0].id,)
    definition = replace(study_of(seed=3, name="first"), excluded=excluded)
    run = tmp_path / "first" / "runs" / "ds-gru" / "confirm-0"
    (run / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    config = updated(default_run_config("ds-gru", CorpusConfig()), TINY)
    stats = open_store(tone_corpus, config.features).stats
    save(run / "checkpoints" / "best.pt", config, build_model(config), stats, LETTERS)
    (run / "utterances-test.jsonl").touch()
    (run / OPENED).write_text("1\n")
    return tmp_path / "first", definition


def test_every_condition_is_scored_once_and_counted(
    study: tuple[Path, StudyDefinition], tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, definition = study
    score_under_conditions(folder, definition, tone_corpus, "noise")
    plan = load_plan(folder)
    assert plan is not None
    assert (plan.seed, len(plan.conditions)) == (3, 9)
    tests = tone_corpus.split("test")
    for condition in plan.conditions:
        rows = list(read_lines(scores_file(folder, "ds-gru/confirm-0", condition), ScoreLine))
        assert [row["id"] for row in rows] == [u.id for u in tests[1:]]  # the first is excluded
        assert [row["ref"] for row in rows] == [u.text for u in tests[1:]]
    opened = (folder / "runs/ds-gru/confirm-0" / OPENED).read_text().splitlines()
    assert opened == ["1", *(f"1 {condition.name}" for condition in plan.conditions)]

    monkeypatch.setattr(robustness, "degraded", lambda *_: pytest.fail("made again"))
    score_under_conditions(folder, definition, tone_corpus, "noise")
    monkeypatch.undo()
    scores_file(folder, "ds-gru/confirm-0", plan.conditions[-1]).unlink()
    score_under_conditions(folder, definition, tone_corpus, "noise")
    again = (folder / "runs/ds-gru/confirm-0" / OPENED).read_text().splitlines()
    assert again == [*opened, "2 room-0.5s"]


def test_features_are_normalised_as_in_training(
    study: tuple[Path, StudyDefinition], tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the statistics of the checkpoint: the degraded corpus has no train split."""
    folder, definition = study
    used = []
    whole = robustness.open_store

    def spy(*arguments: object, **named: object) -> object:
        used.append(named["stats"])
        return whole(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(robustness, "open_store", spy)
    score_under_conditions(folder, definition, tone_corpus, "noise")
    assert len(used) == 9
    assert all(stats == used[0] is not None for stats in used)


def test_a_run_that_diverged_before_it_was_evaluated_is_scored_again_as_it_was(
    study: tuple[Path, StudyDefinition],
) -> None:
    folder, _ = study
    run = folder / "runs" / "ds-gru" / "confirm-0"
    assert scored_checkpoints(folder, "ds-gru") == {run: run / BEST}
    content = torch.load(run / BEST, weights_only=True)
    write(run / LAST, {**content, "loop": {"step": 3}})
    (run / BEST).unlink()
    assert scored_checkpoints(folder, "ds-gru") == {run: run / LAST}
    (run / LAST).unlink()
    assert scored_checkpoints(folder, "ds-gru") == {}
