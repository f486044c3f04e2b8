import pytest

from bench.runs.mlflow.names import metric_name


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("train/loss", "train/loss"),
        ("valid/wer", "valid/wer"),
        ("best/valid/wer", "best/valid_wer"),
        ("best/epoch", "best/epoch"),
        ("epoch", "train/epoch"),
        ("num_parameters", "cost/num_parameters"),
        ("wer_mean", "test/wer_mean"),
        ("cer_mean", "test/cer_mean"),
        ("num_steps", "run/num_steps"),
    ],
)
def test_every_metric_has_one_group(recorded: str, shown: str) -> None:
    assert metric_name(recorded) == shown
    assert shown.count("/") == 1
