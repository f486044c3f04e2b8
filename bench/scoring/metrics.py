"""The metrics of a run: definition, unit and direction of each; `python -m bench.ls metrics`."""

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """One row of METRICS."""

    name: str
    """The logged name without its prefix: ``wer`` for ``valid/wer`` and ``test/wer``."""
    better: Literal["lower", "higher", ""]
    """Which direction is better; "" for a metric that only describes a run."""
    unit: str
    """"" for a plain number."""
    summary: str
    """One line of explanation."""


_ROWS = (
    Metric("wer", "lower", "fraction",
           "word errors over reference words, greedy decoding, may exceed 1"),
    Metric("cer", "lower", "fraction",
           "character errors, spaces included, over reference characters"),
    Metric("loss", "lower", "nats per symbol",
           "CTC loss over the number of symbols, mean over utterances"),
    Metric("consistency", "", "nats per symbol",
           "KL divergence between the CTC outputs of two augmented views (CR-CTC)"),
    Metric("blank_share", "", "fraction",
           "output frames whose best symbol is the blank; near 1: blanks only"),
    Metric("empty_share", "", "fraction",
           "utterances whose transcript is empty; near 1: blanks only"),
    Metric("grad_norm", "", "", "Euclidean norm of the gradient before clipping"),
    Metric("learning_rate", "", "", "learning rate of the optimizer's step"),
    Metric("num_nonfinite", "lower", "steps",
           "steps skipped because loss, gradient or statistics were not finite"),
    Metric("num_micro_batches", "", "parts",
           "micro-batches of a batch; more than configured if memory ran out"),
    Metric("epoch", "", "epochs", "passes over the training data"),
    Metric("audio_hours", "", "h", "audio trained on so far, counting every epoch"),
    Metric("audio_seconds_per_second", "higher", "s/s",
           "seconds of audio trained on per second; evaluation is not counted"),
    Metric("train_seconds", "lower", "s",
           "computing time of training steps: CPU seconds on a CPU, wall seconds on a GPU"),
    Metric("peak_memory_bytes", "lower", "bytes",
           "most memory allocated on the GPU, or resident memory of a CPU process"),
    Metric("num_parameters", "lower", "",
           "trained parameters, including both bias vectors of a recurrent cell"),
    Metric("macs_per_second_of_audio", "lower", "1/s",
           "multiply-adds of one forward pass per second of audio"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}
