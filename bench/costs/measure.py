"""All that is measured of one variant, in one run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bench.core.config import to_dict, updated
from bench.core.console import ProgressCallback
from bench.core.cores import num_cores
from bench.core.errors import UserError
from bench.costs.arithmetic import (
    matmul_peak,
    recurrent_flops_per_second,
    threads,
    training_macs_per_second,
)
from bench.costs.contest import OURS, Contender, Contest, Meter
from bench.costs.excerpt import audio_seconds, network_and_excerpt
from bench.costs.recognition import time_recognition
from bench.costs.rivals import Setting, rivals
from bench.costs.workers import Job, train_at_once
from bench.data.batches import batches_from, epoch_order, padding_share
from bench.data.store import build_store
from bench.data.utterance import Corpus
from bench.runs import RunIdentity, Tracker, TrackingTarget
from bench.runs.state import State
from bench.training.clocks import COMPUTED
from bench.training.config import RunConfig, build_model
from bench.training.loop import TrainingData, train
from variants.cost import macs_per_second
from variants.spec import AcousticModel

OVERHEADS = ("evaluation", "logging", "checkpoint")

WORKERS_PER_GPU = 4
"""As many share the GPU in the measurement of workers, where there are cores enough."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured."""

    minutes: float
    """Training audio used, see `excerpt`."""
    turn_seconds: float
    """Each contender trains for in a round."""
    num_rounds: int
    """That count; one before them warms up."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """One row of the table. None: there is no baseline of it, or only one worker."""

    variant: str
    width: int
    device: str
    utterance_seconds: float
    """Mean length of the utterances trained on."""
    batch_seconds: float
    """Audio in a batch, padding included, at most."""
    audio_seconds_per_second: float
    """Trained, by steps and logging; one thread on a CPU. Evaluations and checkpoints are in
    `overhead_share`, for the baselines have none."""
    family_audio_seconds_per_second: float | None
    ratio: float | None
    """To family: the median over the rounds of the ratio within a round."""
    ratio_low: float | None
    ratio_high: float | None
    plain_audio_seconds_per_second: float | None
    plain_ratio: float | None
    plain_ratio_low: float | None
    plain_ratio_high: float | None
    macs_per_second_of_audio: float
    """Multiply-adds of the forward pass."""
    training_macs_per_second_of_audio: float
    """Of forward and backward pass: what `fraction_of_matmul_peak` counts, twice, as FLOP."""
    matmul_flops_per_second: float
    """The peak measured in this run."""
    fraction_of_matmul_peak: float
    """Of the whole of training; padding is no work done."""
    recurrent_fraction_of_matmul_peak: float | None
    """Of the recurrent layers alone, forward and backward, at the shape of a median batch."""
    shares: dict[str, float]
    """Of the time of whole epochs, by phase (see bench.training.clocks; "logging" is its "report").
    Checkpoints weigh more than in a run over the whole corpus, whose epochs are longer."""
    data_wait_share: float
    overhead_share: float
    """Evaluation, logging and checkpoints."""
    padding_share: float
    """Of the frames trained on."""
    peak_memory_bytes: int
    """Of a process that trains only this, with one thread; on a GPU what torch allocated there."""
    latency_seconds: float
    real_time_factor: float
    num_workers: int
    workers_audio_seconds_per_second: float | None
    """Of one worker per core with one thread each, together; on a GPU of several that share it."""
    one_worker_audio_seconds_per_second: float | None
    """Of one worker that has all cores as threads, or the GPU for itself."""
    workers_ratio: float | None
    features_audio_seconds_per_second: float
    """Read, transformed and written to a store, by all cores."""


def measure(
    config: RunConfig,
    corpus: Corpus,
    effort: Effort,
    *,
    device: torch.device,
    folder: Path,
    progress: ProgressCallback,
) -> Costs:
    """Train, recognise and count `config` on `device`; `folder` takes what the run writes.

    The folder above it is there, and holds the tracking store of all that are measured.

    Raises:
        UserError: as `train`; also a run that ended before the last round.
    """
    num_parts = effort.num_rounds + 3
    with threads(1):
        model, data = network_and_excerpt(config, corpus, effort.minutes)
        found: dict[str, Any] = {
            "variant": config.variant,
            "width": config.model.width,
            "utterance_seconds": data.train.seconds / len(data.train),
            "batch_seconds": config.batches.batch_seconds,
        }
        peak = matmul_peak(device)
        # One store for the folders of all variants: to make one takes seconds.
        target = TrackingTarget(uri=f"sqlite:///{folder.parent.resolve()}/mlflow.db")
        setting = Setting(
            config=config,
            corpus=corpus,
            minutes=effort.minutes,
            device=device.type,
            tracking_uri=target.uri,
        )
        with rivals(setting, model) as others:
            found |= _contest(
                config,
                model,
                data,
                others,
                effort,
                device,
                folder,
                target,
                lambda done: progress(done, num_parts),
            )
        peak = max(peak, matmul_peak(device))
        found |= _arithmetic(config, model, data, found["audio_seconds_per_second"], peak, device)
        found |= asdict(time_recognition(model, config, data.valid, device))
    found["features_audio_seconds_per_second"] = _feature_rate(config, corpus, folder)
    progress(num_parts - 1, num_parts)
    found |= _workers(config, corpus, effort, device)
    progress(num_parts, num_parts)
    return Costs(device=device.type, **found)


def _contest(
    config: RunConfig,
    model: AcousticModel,
    data: TrainingData,
    others: Mapping[str, Contender],
    effort: Effort,
    device: torch.device,
    folder: Path,
    target: TrackingTarget,
    tick: Callable[[int], None],
) -> dict[str, Any]:
    """Rates, ratios and shares of time."""
    # The clock by which ours saves goes on while the others have their turns.
    interval = config.training.checkpoint_every_seconds * (1 + len(others))
    config = updated(config, {"training.checkpoint_every_seconds": interval})
    order = batches_from(data.train, config.batches, seed=config.seed)
    tracker = Tracker.open(folder, _identity(config), to_dict(config), target)
    contest = Contest(
        meter=Meter(audio_seconds(data.train, batch) for batch in order),
        others=others,
        log=tracker.log,
        turn_seconds=effort.turn_seconds,
        num_rounds=effort.num_rounds,
        tick=tick,
    )
    try:
        result = train(
            config,
            model,
            data,
            device=device,
            directory=folder,
            report=contest,
            before_save=tracker.sync,
        )
    finally:
        tracker.close(State.KILLED)
    if not contest.is_over:
        raise UserError(
            f"each round needs {effort.turn_seconds:g} s of training, but {config.variant} "
            f"{result.state} after {result.num_epochs} epochs; raise training.num_epochs or "
            "--minutes, or lower --seconds or optim.learning_rate"
        )
    seconds = dict(result.seconds)
    for name in ("report", COMPUTED):
        seconds.pop(name)
    return _rates(contest) | _shares(seconds | {"logging": contest.logging_seconds})


def _identity(config: RunConfig) -> RunIdentity:
    return RunIdentity(
        study="speed",
        variant=config.variant,
        kind="train",
        slot=0,
        attempt=1,
        seed=config.seed,
        params={},
    )


def _rates(contest: Contest) -> dict[str, Any]:
    names = contest.rounds[0].keys()
    found: dict[str, Any] = {"audio_seconds_per_second": contest.rate(OURS)}
    for name, prefix in (("family", ""), ("plain", "plain_")):
        ratio = contest.ratio(name) if name in names else None
        found |= {
            f"{name}_audio_seconds_per_second": contest.rate(name) if ratio else None,
            f"{prefix}ratio": ratio and ratio.median,
            f"{prefix}ratio_low": ratio and ratio.low,
            f"{prefix}ratio_high": ratio and ratio.high,
        }
    return found


def _shares(seconds: dict[str, float]) -> dict[str, Any]:
    """Of each phase in the time of all; seconds by phase."""
    total = sum(seconds.values())
    shares = {phase: spent / total for phase, spent in seconds.items()}
    return {
        "shares": shares,
        "data_wait_share": shares["data"],
        "overhead_share": sum(shares.get(phase, 0.0) for phase in OVERHEADS),
    }


def _arithmetic(
    config: RunConfig,
    model: AcousticModel,
    data: TrainingData,
    rate: float,
    peak: float,
    device: torch.device,
) -> dict[str, Any]:
    """Multiply-adds, shares of the `peak` and padding; `rate` is in audio seconds per second."""
    shape = config.features.num_bins, config.features.frames_per_second
    with torch.device("meta"):
        stand_in = build_model(config)
    training_macs = config.training.num_views * training_macs_per_second(stand_in, *shape)
    order = epoch_order(data.train, config.batches, seed=config.seed, epoch=0)
    num_rows, num_frames = sorted(
        (len(batch), int(data.train.num_frames[batch].max())) for batch in order
    )[len(order) // 2]
    out_frames = int(model.output_lengths(torch.tensor(num_frames)))
    recurrent = recurrent_flops_per_second(model, num_rows, out_frames, device)
    return {
        "macs_per_second_of_audio": macs_per_second(stand_in, *shape),
        "training_macs_per_second_of_audio": training_macs,
        "matmul_flops_per_second": peak,
        "fraction_of_matmul_peak": 2 * training_macs * rate / peak,
        "recurrent_fraction_of_matmul_peak": recurrent and recurrent / peak,
        "padding_share": padding_share(order, data.train.num_frames),
    }


def _feature_rate(config: RunConfig, corpus: Corpus, folder: Path) -> float:
    """Of the whole corpus; the better of two, since the first may wait for the disk."""
    seconds = []
    for number in range(2):
        begun = time.perf_counter()
        build_store(folder / f"features-{number}", corpus, config.features)
        seconds.append(time.perf_counter() - begun)
    return sum(utterance.seconds for utterance in corpus.utterances) / min(seconds)


def _workers(
    config: RunConfig, corpus: Corpus, effort: Effort, device: torch.device
) -> dict[str, Any]:
    """What processes of their own do: one per core, or several that share a GPU, which a single one
    does not fill."""

    def job(num_threads: int) -> Job:
        return Job(
            config=config,
            corpus=corpus,
            minutes=effort.minutes,
            seconds=effort.turn_seconds * effort.num_rounds,  # as ours in the contest
            num_threads=num_threads,
            device=device.type,
        )

    on_cpu = device.type == "cpu"
    count = num_cores() if on_cpu else min(num_cores(), WORKERS_PER_GPU)
    together = train_at_once(job(num_threads=1), count)
    alone = train_at_once(job(num_threads=count if on_cpu else 1), 1) if count > 1 else None
    rate, one_rate = together.audio_seconds_per_second, alone and alone.audio_seconds_per_second
    return {
        "num_workers": count,
        "peak_memory_bytes": together.peak_memory_bytes,
        "workers_audio_seconds_per_second": rate if one_rate else None,
        "one_worker_audio_seconds_per_second": one_rate,
        "workers_ratio": rate / one_rate if one_rate else None,
    }
