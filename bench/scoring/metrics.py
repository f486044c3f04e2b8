"""The metrics of a run: definition, unit and direction of each."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One row of METRICS."""

    name: str
    """The logged name without its prefix: ``wer`` for ``valid/wer`` and ``test/wer``."""
    direction: Literal["minimize", "maximize"] | None
    """Which direction is better; None for a metric that only describes a run."""
    unit: str
    """"" for a plain number."""
    summary: str
    """One line of explanation."""


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="wer",
            direction="minimize",
            unit="fraction",
            summary="word errors over reference words, greedy decoding, may exceed 1",
        ),
        Metric(
            name="cer",
            direction="minimize",
            unit="fraction",
            summary="character errors, spaces included, over reference characters",
        ),
        Metric(
            name="loss",
            direction="minimize",
            unit="nats per symbol",
            summary="CTC loss over the number of symbols, mean over utterances",
        ),
        Metric(
            name="consistency",
            direction=None,
            unit="nats per symbol",
            summary="KL divergence between the CTC outputs of two augmented views (CR-CTC)",
        ),
        Metric(
            name="blank_share",
            direction=None,
            unit="fraction",
            summary="output frames whose best symbol is the blank; near 1: blanks only",
        ),
        Metric(
            name="empty_share",
            direction=None,
            unit="fraction",
            summary="utterances whose transcript is empty; near 1: blanks only",
        ),
        Metric(
            name="grad_norm",
            direction=None,
            unit="",
            summary="Euclidean norm of the gradient before clipping",
        ),
        Metric(name="learning_rate", direction=None, unit="", summary="of the optimizer's step"),
        Metric(
            name="num_nonfinite",
            direction="minimize",
            unit="steps",
            summary="steps skipped because loss, gradient or statistics were not finite",
        ),
        Metric(
            name="num_micro_batches",
            direction=None,
            unit="parts",
            summary="micro-batches of a batch; more than configured if memory ran out",
        ),
        Metric(
            name="epoch", direction=None, unit="epochs", summary="passes over the training data"
        ),
        Metric(
            name="audio_hours",
            direction=None,
            unit="h",
            summary="audio trained on so far, counting every epoch",
        ),
        Metric(
            name="audio_seconds_per_second",
            direction="maximize",
            unit="s/s",
            summary="seconds of audio trained on per second; evaluation is not counted",
        ),
        Metric(
            name="train_seconds",
            direction="minimize",
            unit="s",
            summary="computing time of training steps: CPU seconds on a CPU, wall seconds on a GPU",
        ),
        Metric(
            name="peak_memory_bytes",
            direction="minimize",
            unit="bytes",
            summary="most memory allocated on the GPU, or resident memory of a CPU process",
        ),
        Metric(
            name="num_parameters",
            direction="minimize",
            unit="",
            summary="trained parameters, including both bias vectors of a recurrent cell",
        ),
        Metric(
            name="macs_per_second_of_audio",
            direction="minimize",
            unit="1/s",
            summary="multiply-adds of one forward pass per second of audio",
        ),
    )
}
