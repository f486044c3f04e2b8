"""What the training loop tells: its progress while it runs, its result at the end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class WatchTranscript:
    """What the network makes of a watch utterance at one evaluation."""

    id: str
    ref: str
    hyp: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the loop reports: every few steps, and at each evaluation."""

    step: int
    """Steps taken, over all resumes."""
    epoch: float
    """Epochs done; whole at an evaluation, unless the cap on seconds cut one short."""
    num_epochs: int
    """Epochs that the run may take."""
    seconds: float
    """That training steps computed for, as the cap counts them, over all resumes; see Clocks."""
    metrics: dict[str, float]
    """By name, with prefix: "train/loss", "valid/wer"; rows of bench.scoring.METRICS. Losses may be
    infinite or NaN."""
    evaluated: bool
    """Whether "valid/…" and `watch` are there."""
    is_last: bool = False
    """Whether the run ends here by itself: finished, cut or diverged."""
    watch: tuple[WatchTranscript, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    state: Literal["finished", "cut", "stopped", "diverged"]
    """A run that the cap on its seconds ended before its last epoch is cut: evaluated, and over.
    Only a stopped run can be gone on with."""
    best_epoch: int
    """Of the lowest valid WER (then CER, then the earliest); 0 if the run was never evaluated."""
    best: dict[str, float]
    """Metrics of that evaluation; empty if there was none."""
    final: dict[str, float]
    """Metrics of the last evaluation."""
    num_steps: int
    num_epochs: int
    """Epochs begun."""
    train_seconds: float
    """That steps alone computed for, without evaluations and checkpoints: CPU seconds on a CPU."""
    seconds: dict[str, float]
    """By phase, see Clocks."""
    audio_seconds_per_second: float
    peak_memory_bytes: int
    num_nonfinite: int
    """Steps skipped because loss, gradient or running statistics were not finite."""
    num_micro_batches: int
    """Parts that a batch went through the network in: more than configured if memory ran out."""
    best_checkpoint: Path
    """There if the run was ever evaluated."""
