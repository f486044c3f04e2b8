from bench.scoring import METRICS


def test_every_metric_has_its_name_as_key_and_a_summary() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.summary
        assert metric.better in ("lower", "higher", "")


def test_error_rates_are_to_be_minimised() -> None:
    assert METRICS["wer"].better == METRICS["cer"].better == "lower"
    assert METRICS["audio_seconds_per_second"].better == "higher"
