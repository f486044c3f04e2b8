"""python -m bench.replay, over curves of its own making."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import replay
from bench.core.errors import UserError
from bench.study.replay import Recording
from bench.study.space import Dimension

KEPT = Path(__file__).resolve().parents[1] / "sweeps/curves/spoken.ds-gru.jsonl"
PROXY = KEPT.with_name("spoken.ds-gru.proxy.jsonl")


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
        ((str(KEPT), "--markdown"), "go with --schedules, which is missing"),
        (("curves.jsonl", "--studies", "1"), "--studies must be at least 5, got 1"),
    ],
)
def test_mistakes_say_the_rule(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(*arguments)


def test_the_kept_curves_can_be_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    run(str(KEPT), "--studies", "5", "--json")
    assert len(json.loads(capsys.readouterr().out)["methods"]) == 6


def test_schedules_as_a_table_a_page_and_json(
    curves: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (str(curves), "--schedules", "--trials", "6", "--proxy", str(curves))
    run(*arguments)
    assert "halving by 2 at 1, 2, 4, restarts" in capsys.readouterr().out
    run(*arguments, "--markdown")
    page = capsys.readouterr().out
    assert f"python -m bench.replay {curves} --trials 6 --schedules --proxy {curves}" in page
    assert "| lowest loss, ds-gru in a-study | 1.00 |" in page
    run(*arguments, "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["schedules"][0]["compute"] == 1
    assert told["kendalls_tau"]["WER after epoch 1 of 5"] > 0.8


def test_the_kept_proxy_has_the_settings_of_the_recording_and_others_are_refused(
    curves: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(str(KEPT), "--schedules", "--proxy", str(PROXY), "--json")
    assert json.loads(capsys.readouterr().out)["source"].startswith("ds-gru in ")
    with pytest.raises(UserError, match="12 of its 12 trials have others"):
        run(str(KEPT), "--schedules", "--proxy", str(curves))
