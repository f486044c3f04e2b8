"""A measurement of latency with believable figures, for tests."""

from dataclasses import replace
from typing import Any

from reports.measurements import LatencyRow

_ROW = LatencyRow(
    study="s",
    system="ds-gru",
    run="ds-gru/confirm-000",
    device="cpu",
    aligner="ds-bigru/confirm-000",
    chunk_ms=100.0,
    endpoint_ms=800.0,
    cannot_stream="",
    num_utterances=50,
    num_words=300,
    num_emissions=240,
    look_ahead_ms=125.0,
    mean_look_ahead_ms=125.0,
    compute_p50_ms=3.25,
    compute_p90_ms=4.5,
    compute_p99_ms=9.75,
    emission_p50_ms=40.0,
    emission_p90_ms=180.0,
    user_perceived_ms=168.25,
    finalisation_ms=1_050.0,
    unstable_share=0.123,
)


def latency_row(**changes: Any) -> LatencyRow:
    """A LatencyRow with these fields changed."""
    return replace(_ROW, **changes)
