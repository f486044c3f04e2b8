"""How a study is decoded again: the settings tried, the plan kept, the weights chosen."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.files import write_json
from bench.decoding.beam import BeamConfig
from bench.decoding.language_model import LanguageModel, LmFacts
from bench.study import decoding
from bench.study.decoding import (
    ALPHA_RANGE,
    BEAM,
    BETA_RANGE,
    NUM_SETTINGS,
    DecodingPlan,
    load_plan,
    plan_decoding,
    read_heard,
    settings_to_try,
    tuned_weights,
)
from bench.study.definition import StudyDefinition
from tests.studies import study_of

FACTS = LmFacts(
    digest="d1", source="texts", unit="word", order=3, num_ngrams=(3, 2, 1), perplexity=2.0, oov=0.1
)
MODEL = LanguageModel(Path("unused.arpa"), FACTS)
PLAN = DecodingPlan(
    lm=FACTS, width=10, num_tokens=5, threshold=20.0, settings=((1.0, 1.5), (0.5, 0.0), (2.0, 1.0))
)


def study() -> StudyDefinition:
    return study_of(name="first")


def test_settings_begin_with_the_default_and_fill_the_ranges() -> None:
    settings = settings_to_try(0, BeamConfig(alpha=0.7, beta=0.2))
    assert settings[0] == (0.7, 0.2)
    assert len(set(settings)) == len(settings) == NUM_SETTINGS
    for values, (low, high) in zip(
        zip(*settings, strict=True), (ALPHA_RANGE, BETA_RANGE), strict=True
    ):
        assert low <= min(values) < low + (high - low) / 6
        assert high - (high - low) / 6 < max(values) <= high
    assert settings == settings_to_try(0, BeamConfig(alpha=0.7, beta=0.2))
    assert settings[1:] != settings_to_try(1, BeamConfig())[1:]


def test_a_plan_is_kept_and_nothing_else_is_mixed_in(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was not decoded by beam search"):
        load_plan(tmp_path)
    plan = plan_decoding(tmp_path, study(), MODEL, BeamConfig())
    assert plan == load_plan(tmp_path) == plan_decoding(tmp_path, study(), MODEL, BeamConfig())
    with pytest.raises(UserError, match="width was 100, is 50; results are never mixed"):
        plan_decoding(tmp_path, study(), MODEL, BeamConfig(width=50))
    other = replace(MODEL, facts=replace(FACTS, digest="d2"))
    with pytest.raises(UserError, match=r"lm\.digest was 'd1', is 'd2'"):
        plan_decoding(tmp_path, study(), other, BeamConfig())


def test_a_plan_of_other_settings_is_another(tmp_path: Path) -> None:
    plan_decoding(tmp_path, study(), MODEL, BeamConfig())
    with pytest.raises(UserError, match="settings was"):
        plan_decoding(tmp_path, replace(study(), seed=1), MODEL, BeamConfig())


def test_weights_have_the_fewest_errors_over_all_seeds(tmp_path: Path) -> None:
    runs = [tmp_path / "runs" / "ds-gru" / f"confirm-{seed}" for seed in (0, 1)]
    # Either seed alone would choose another setting; the second and third are equal.
    for run, errors in zip(runs, ([1, 3, 4], [9, 4, 3]), strict=True):
        path = tmp_path / BEAM / "ds-gru" / run.name / decoding.SEARCH
        write_json(path, {"errors": errors, "num_ref_words": 20})
    weights = decoding._choose(tmp_path, "ds-gru", runs, PLAN)
    assert (weights.alpha, weights.beta) == (0.5, 0.0)
    assert weights.wers == (0.25, 0.175, 0.175)
    for run in runs:
        (tmp_path / BEAM / "ds-gru" / run.name / decoding.SEARCH).unlink()
    assert decoding._choose(tmp_path, "ds-gru", runs, PLAN) == weights, "chosen once"
    best = runs[1] / "checkpoints" / "best.pt"
    assert tuned_weights(best) == (0.5, 0.0)
    assert (
        tuned_weights(tmp_path / "runs" / "ds-rnn" / "confirm-0" / "checkpoints" / "best.pt")
        is None
    )
    assert tuned_weights(Path("/best.pt")) is None


def test_what_was_heard_is_a_list(tmp_path: Path) -> None:
    assert read_heard(tmp_path) == []
    write_json(tmp_path / "decoding" / "watch.json", {"rows": "none"})
    with pytest.raises(UserError, match="holds no list of rows"):
        read_heard(tmp_path)
