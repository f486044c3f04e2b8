"""A measurement of bench.speed with believable figures, for tests."""

from dataclasses import replace
from typing import Any

from reports.measurements import BaselineSpeed, SpeedRow

_ROW = SpeedRow(
    variant="ds-gru",
    width=256,
    device="cpu",
    utterance_seconds=2.63,
    batch_seconds=20.0,
    audio_seconds_per_second=125.14,
    family=BaselineSpeed(audio_seconds_per_second=64.5, ratio=1.94, ratio_low=1.9, ratio_high=2.0),
    torch_baseline=BaselineSpeed(
        audio_seconds_per_second=86.5, ratio=1.446, ratio_low=1.4, ratio_high=1.5
    ),
    macs_per_second_of_audio=8.1e7,
    training_macs_per_second_of_audio=2.2e8,
    matmul_flops_per_second=1.5e11,
    fraction_of_matmul_peak=0.371,
    recurrent_fraction_of_matmul_peak=0.8,
    shares={"data": 0.013, "forward": 0.412},
    data_wait_share=0.013,
    overhead_share=0.05,
    padding_share=0.044,
    peak_memory_bytes=897_000_000,
    latency_seconds=0.0163,
    real_time_factor=0.0071,
    num_workers=2,
    workers_audio_seconds_per_second=172.7,
    one_worker_audio_seconds_per_second=125.14,
    workers_ratio=1.38,
    features_audio_seconds_per_second=5_000.0,
    workers_share_by_mps=False,
    latency_floor_share=None,
    joules_per_audio_hour=None,
)


def speed_row(**changes: Any) -> SpeedRow:
    """A SpeedRow with these fields changed."""
    return replace(_ROW, **changes)
