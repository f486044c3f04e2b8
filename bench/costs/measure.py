"""The measurement of one variant: every field of a SpeedRow, in one run."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.core import mps
from bench.core.config import to_dict, updated
from bench.core.console import ProgressCallback
from bench.core.cores import num_cores, torch_threads
from bench.core.errors import UserError
from bench.core.gpus import choose
from bench.costs.baselines import FAMILY, TORCH_BASELINE, BaselineSetting, baselines
from bench.costs.concurrency import ConcurrentTraining, TrainingJob, train_concurrently
from bench.costs.data import network_and_excerpt
from bench.costs.interleaved import OWN_LOOP, Baseline, InterleavedBenchmark, Meter
from bench.costs.timings import (
    Recognition,
    feature_rate,
    latency_floor_seconds,
    matmul_peak,
    recurrent_flops_per_second,
    time_recognition,
)
from bench.data.batches import batches_from, epoch_order, padding_share
from bench.data.utterance import Corpus
from bench.runs import RunIdentity, Tracker, TrackingTarget
from bench.runs.device_use import gpus_of_run
from bench.runs.state import State
from bench.training.config import RunConfig, model_shape
from bench.training.loop import TrainingData, train
from reports.measurements import BaselineSpeed, SpeedRow
from variants.cost import macs_per_second, training_macs_per_second
from variants.spec import AcousticModel

OVERHEADS = ("evaluation", "logging", "checkpoint")
"""Phases outside training steps."""

WORKERS_PER_GPU = 4
"""Workers that share the GPU, at most one per core."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured."""

    minutes: float
    """Training audio, see `excerpt`."""
    slice_seconds: float
    """Training time of each system in a round."""
    num_rounds: int
    """Without the warm-up round."""


def measure(
    config: RunConfig,
    corpus: Corpus,
    effort: Effort,
    *,
    device: torch.device,
    folder: Path,
    progress: ProgressCallback,
) -> SpeedRow:
    """Measure `config` on `device`.

    Args:
        config: with more epochs than `effort` takes.
        corpus: its features are already in the store.
        effort: how much is measured.
        device: on a CPU one thread is used, except by the workers and to compute features.
        folder: for the files of the run; its parent exists, and holds the tracking store.
        progress: gets the number of parts done and of all parts.

    Raises:
        UserError: as `train`, or training ended before the last round.
    """
    # The rounds and the warm-up one before them, the features, the workers.
    num_parts = effort.num_rounds + 3
    with torch_threads(1):
        model, data = network_and_excerpt(config, corpus, effort.minutes)
        subject = _Subject(config=config, model=model, data=data, device=device)
        peak = matmul_peak(device)
        training = _train_interleaved(
            subject, corpus, effort, folder, lambda num_rounds: progress(num_rounds, num_parts)
        )
        # Other load on the machine lowers the peak, so the higher of two measurements counts.
        peak = max(peak, matmul_peak(device))
        arithmetic = _arithmetic(subject)
        recognition = time_recognition(model, config, data.valid, device)
    features_rate = feature_rate(config, corpus, folder)
    progress(num_parts - 1, num_parts)
    workers = _workers(config, corpus, effort, device)
    progress(num_parts, num_parts)
    return _row(subject, training, peak, arithmetic, recognition, features_rate, workers)


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What is measured."""

    config: RunConfig
    model: AcousticModel
    data: TrainingData
    device: torch.device


def _row(
    subject: _Subject,
    training: "_Training",
    peak: float,
    arithmetic: "_Arithmetic",
    recognition: Recognition,
    features_rate: float,
    workers: "_Workers",
) -> SpeedRow:
    config, train_set = subject.config, subject.data.train
    recurrent = arithmetic.recurrent_flops_per_second
    return SpeedRow(
        variant=config.variant,
        width=config.model.width,
        device=subject.device.type,
        utterance_seconds=train_set.seconds / len(train_set),
        batch_seconds=config.batches.batch_seconds,
        audio_seconds_per_second=training.rate,
        family=training.baselines.get(FAMILY),
        torch_baseline=training.baselines.get(TORCH_BASELINE),
        macs_per_second_of_audio=arithmetic.macs_per_second,
        training_macs_per_second_of_audio=arithmetic.training_macs_per_second,
        matmul_flops_per_second=peak,
        fraction_of_matmul_peak=(  # a multiply-add is two FLOP
            2 * arithmetic.training_macs_per_second * training.rate / peak
        ),
        recurrent_fraction_of_matmul_peak=recurrent and recurrent / peak,
        shares=training.shares,
        data_wait_share=training.shares["data"],
        overhead_share=sum(training.shares.get(phase, 0.0) for phase in OVERHEADS),
        padding_share=arithmetic.padding_share,
        peak_memory_bytes=workers.together.peak_memory_bytes,
        latency_seconds=recognition.latency_seconds,
        real_time_factor=recognition.real_time_factor,
        num_workers=workers.count,
        workers_share_by_mps=workers.is_by_mps,
        latency_floor_share=arithmetic.latency_share(training.rate),
        joules_per_audio_hour=training.joules_per_audio_hour,
        workers_audio_seconds_per_second=workers.rate,
        one_worker_audio_seconds_per_second=workers.one_rate,
        workers_ratio=workers.ratio,
        features_audio_seconds_per_second=features_rate,
    )


@dataclass(frozen=True, kw_only=True)
class _Training:
    """The result of the interleaved benchmark."""

    rate: float
    """Audio seconds per second of the training loop."""
    baselines: Mapping[str, BaselineSpeed]
    shares: Mapping[str, float]
    """Of the loop's time, by phase."""
    joules_per_audio_hour: float | None


def _train_interleaved(
    subject: _Subject,
    corpus: Corpus,
    effort: Effort,
    folder: Path,
    on_round: Callable[[int], None],
) -> _Training:
    # One store for all variants, in the folder above: creating one takes seconds.
    target = TrackingTarget(uri=f"sqlite:///{folder.parent.resolve()}/mlflow.db")
    setting = BaselineSetting(
        config=subject.config,
        corpus=corpus,
        minutes=effort.minutes,
        device=subject.device.type,
        tracking_uri=target.uri,
    )
    with baselines(setting, subject.model) as others:
        benchmark, seconds = _run_benchmark(subject, others, effort, folder, target, on_round)
    total = sum(seconds.values())
    return _Training(
        rate=benchmark.rate(OWN_LOOP),
        baselines={name: benchmark.compare(name) for name in others},
        shares={phase: spent / total for phase, spent in seconds.items()},
        joules_per_audio_hour=benchmark.energy.joules_per_audio_hour,
    )


def _run_benchmark(
    subject: _Subject,
    others: Mapping[str, Baseline],
    effort: Effort,
    folder: Path,
    target: TrackingTarget,
    on_round: Callable[[int], None],
) -> tuple[InterleavedBenchmark, dict[str, float]]:
    """The benchmark after its last round, and the loop's seconds by phase."""
    train_set, config = subject.data.train, subject.config
    # Checkpoints are due by wall time, which includes the slices of the baselines.
    interval = config.training.checkpoint_every_seconds * (1 + len(others))
    config = updated(config, {"training.checkpoint_every_seconds": interval})
    order = batches_from(train_set, config.batches, seed=config.seed)
    identity = RunIdentity(
        study="speed", system=config.variant, kind="train", slot=0, attempt=1, seed=config.seed,
        params={},
    )  # fmt: skip
    tracker = Tracker.open(folder, identity, to_dict(config), target)
    benchmark = InterleavedBenchmark(
        meter=Meter(train_set.seconds_of(batch) for batch in order),
        baselines=others,
        log=tracker.record.append,
        slice_seconds=effort.slice_seconds,
        num_rounds=effort.num_rounds,
        on_round=on_round,
        energy=energy_counter(subject.device),
    )
    try:
        result = train(
            config,
            subject.model,
            subject.data,
            device=subject.device,
            directory=folder,
            report=benchmark,
            before_save=tracker.record.sync,
        )
    finally:
        tracker.close(State.KILLED)
    if not benchmark.is_over:
        raise UserError(
            f"each round needs {effort.slice_seconds:g} s of training, but {config.variant} "
            f"{result.state} after {result.num_epochs} epochs; raise training.num_epochs or "
            "--minutes, or lower --seconds or optim.learning_rate"
        )
    seconds = dict(result.seconds)
    seconds.pop("report")  # includes the slices of the baselines
    return benchmark, seconds | {"logging": benchmark.logging_seconds}


def energy_counter(device: torch.device) -> Callable[[], float | None]:
    """Reads the joules that the GPU of this process has used so far; None on a CPU, and where NVML
    does not know."""
    gpus = gpus_of_run(device.type, 1)
    return (lambda: gpus[0].reading().energy_joules) if gpus else (lambda: None)


@dataclass(frozen=True, kw_only=True)
class _Arithmetic:
    macs_per_second: float
    """Of audio, in the forward pass."""
    training_macs_per_second: float
    """Of audio, forward and backward, for all views."""
    recurrent_flops_per_second: float | None
    """Achieved by the recurrent layers alone."""
    padding_share: float
    latency_floor_seconds: float | None
    """Of a step on a batch of median shape."""
    batch_audio_seconds: float
    """Of that batch."""

    def latency_share(self, rate: float) -> float | None:
        """The floor divided by the time of such a step at `rate` audio seconds per second: 1 is as
        fast as the order of frames allows."""
        if self.latency_floor_seconds is None:
            return None
        return self.latency_floor_seconds * rate / self.batch_audio_seconds


def _arithmetic(subject: _Subject) -> _Arithmetic:
    config, train_set = subject.config, subject.data.train
    shape = config.features.num_bins, config.features.frames_per_second
    meta_model = model_shape(config)
    order = epoch_order(train_set, config.batches, seed=config.seed, epoch=0)
    # The batch of median shape: in the order of rows, then frames.
    num_rows, num_frames, median = sorted(
        (len(batch), int(train_set.num_frames[batch].max()), batch) for batch in order
    )[len(order) // 2]
    out_frames = int(subject.model.output_lengths(torch.tensor(num_frames)))
    return _Arithmetic(
        macs_per_second=macs_per_second(meta_model, *shape),
        training_macs_per_second=(
            config.training.num_views * training_macs_per_second(meta_model, *shape)
        ),
        recurrent_flops_per_second=recurrent_flops_per_second(
            subject.model, num_rows, out_frames, subject.device
        ),
        padding_share=padding_share(order, train_set.num_frames),
        latency_floor_seconds=latency_floor_seconds(subject.model, out_frames, subject.device),
        batch_audio_seconds=train_set.seconds_of(median),
    )


@dataclass(frozen=True, kw_only=True)
class _Workers:
    """Several workers with one thread each, and one that has all cores or the GPU to itself."""

    count: int
    together: ConcurrentTraining
    alone: ConcurrentTraining | None
    """None if `count` is 1."""
    is_by_mps: bool
    """On a GPU: whether MPS lets them compute at the same time; else they take turns."""

    @property
    def rate(self) -> float | None:
        """Audio seconds per second of all workers together."""
        return self.together.audio_seconds_per_second if self.alone else None

    @property
    def one_rate(self) -> float | None:
        """Audio seconds per second of one worker."""
        return self.alone.audio_seconds_per_second if self.alone else None

    @property
    def ratio(self) -> float | None:
        """All workers together divided by one."""
        return self.rate / self.one_rate if self.rate and self.one_rate else None


def _workers(config: RunConfig, corpus: Corpus, effort: Effort, device: torch.device) -> _Workers:
    """One worker per core; on a GPU several under MPS, since one does not keep it busy."""

    def job(num_threads: int) -> TrainingJob:
        return TrainingJob(
            config=config,
            corpus=corpus,
            minutes=effort.minutes,
            seconds=effort.slice_seconds * effort.num_rounds,  # as the loop in the benchmark
            num_threads=num_threads,
            device=device.type,
        )

    on_cpu = device.type == "cpu"
    count = num_cores() if on_cpu else min(num_cores(), WORKERS_PER_GPU)
    sharing: AbstractContextManager[dict[str, str]] = nullcontext({})
    if not on_cpu and count > 1:
        sharing = mps.sharing(choose([])[:1])
    with sharing as variables:
        together = train_concurrently(job(num_threads=1), count, variables)
    alone = train_concurrently(job(num_threads=count if on_cpu else 1), 1) if count > 1 else None
    return _Workers(count=count, together=together, alone=alone, is_by_mps=bool(variables))
