"""The baselines in a process of their own."""

from pathlib import Path

import pytest

from bench.costs import rivals as module
from bench.costs.rivals import Setting, rivals
from bench.data.utterance import Corpus
from bench.training.config import build_model
from tests.costs.conftest import Configure


@pytest.fixture
def setting(tiny: Configure, tone_corpus: Corpus, tmp_path: Path) -> Setting:
    return Setting(
        config=tiny(),
        corpus=tone_corpus,
        minutes=60,
        device="cpu",
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
    )


def test_each_trains_for_its_turn_and_elsewhere(setting: Setting) -> None:
    with rivals(setting, build_model(setting.config)) as others:
        assert list(others) == ["family", "plain"]
        for take_turn in others.values():
            turn = take_turn(0.01)
            assert turn.audio_seconds > 0
            assert turn.seconds >= 0.01
    assert not module._baselines
