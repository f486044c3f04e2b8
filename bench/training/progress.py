"""What the training loop returns: progress while it runs, a result at the end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class WatchTranscript:
    """The transcript of a watch utterance at one evaluation."""

    id: str
    ref: str
    hyp: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Reported every few steps, and at each evaluation."""

    step: int
    """Steps taken, over all resumes."""
    epoch: float
    """Epochs done; an integer at an evaluation, unless the cap on seconds ended the run within an
    epoch."""
    num_epochs: int
    """Epochs that the run may take."""
    seconds: float
    """Computing time of training steps, over all resumes; see Clocks.computed."""
    metrics: dict[str, float]
    """By prefix and name: "train/loss", "valid/wer"; names as in bench.scoring.METRICS. Losses may
    be infinite or NaN."""
    evaluated: bool
    """True at an evaluation: "valid/…" and `watch` are set."""
    is_last: bool = False
    """True if the run is over: finished, cut or diverged."""
    watch: tuple[WatchTranscript, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    state: Literal["finished", "cut", "stopped", "diverged"]
    """"cut": the cap on seconds ended the run before its last epoch; it was evaluated and is over.
    "stopped": `report` asked for it; only such a run can be resumed."""
    best_epoch: int
    """The epoch of the lowest valid WER (then CER, then the earliest); 0 if never evaluated."""
    best: dict[str, float]
    """Metrics of that evaluation; empty if there was none."""
    final: dict[str, float]
    """Metrics of the last evaluation."""
    num_steps: int
    num_epochs: int
    """Epochs begun."""
    train_seconds: float
    """Computing time of training steps, without evaluations and checkpoints: CPU seconds on a
    CPU."""
    seconds: dict[str, float]
    """By phase, see Clocks."""
    audio_seconds_per_second: float
    peak_memory_bytes: int
    num_nonfinite: int
    """Steps skipped because loss, gradient or running statistics were not finite."""
    num_micro_batches: int
    """Micro-batches of a batch: more than configured if memory ran out."""
    best_checkpoint: Path
    """The file exists if the run was ever evaluated."""
