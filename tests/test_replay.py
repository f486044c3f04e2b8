"""python -m bench.replay, over curves of its own making."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import replay
from bench.core.errors import UserError
from bench.study.replay import Recording
from bench.study.space import Dimension


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    dropouts = np.linspace(0, 0.4, 12)
    wers_NE = 0.3 + dropouts[:, None] / 4 + np.exp(-np.arange(1, 6)) + rng.normal(0, 0.002, (12, 5))
    path = tmp_path / "curves.jsonl"
    Recording(
        source="ds-gru in a-study",
        space={"model.dropout": Dimension(low=0.0, high=0.4, default=0.1)},
        trials=tuple({"model.dropout": float(d)} for d in dropouts),
        wers_NE=wers_NE,
        losses_NE=wers_NE**2,
    ).save(path)
    return path


def run(*arguments: str) -> None:
    replay.main(replay.build_parser().parse_args(arguments))


def test_a_table_and_the_same_as_json(curves: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (str(curves), "--studies", "5", "--trials", "6")
    run(*arguments)
    printed = capsys.readouterr().out
    assert "12 curves of 5 epochs, ds-gru in a-study; 5 studies of 6 trials' compute" in printed
    run(*arguments, "--json")
    told = json.loads(capsys.readouterr().out)
    assert {(row["sampler"], row["pruner"]) for row in told["methods"]} >= {
        ("random", "none"),
        ("tpe", "median"),
    }
    assert told["loss_and_wer"] == pytest.approx(1.0)
    assert len(told["wer_by_epoch_and_best"]) == 5


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("nothing-there",), "no study 'nothing-there'"),
        (("curves.jsonl", "--studies", "1"), "--studies must be at least 5, got 1"),
    ],
)
def test_mistakes_say_the_rule(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(*arguments)


def test_the_kept_curves_can_be_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Path(__file__).resolve().parents[1] / "sweeps/curves/spoken.ds-gru.jsonl"
    run(str(kept), "--studies", "5", "--json")
    assert len(json.loads(capsys.readouterr().out)["methods"]) == 6
