"""Training steps on synthetic batches: what a step costs, without a corpus or its way from disk.

Legend: B rows, T frames, F feature bins, S labels.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from bench.core.config import updated
from bench.core.seeding import derive, seed_torch
from bench.costs.survey import Setting
from bench.costs.timings import synchronizer
from bench.data.augment import draw
from bench.data.corpora import CorpusConfig
from bench.data.text import NUM_SYMBOLS
from bench.training.clocks import Clocks
from bench.training.config import build_model, default_run_config
from bench.training.device import default_precision
from bench.training.inputs import StepInputs
from bench.training.model_ema import ModelEma
from bench.training.optim import build_optimizer
from bench.training.replica import Replica
from bench.training.shapes import Shape
from bench.training.step import Buffers, Step, Trained
from variants import VARIANTS

LABELS_PER_SECOND = 14
"""Of read English."""
NUM_BATCHES = 4
"""Different batches, over and over."""


def surveyed() -> list[str]:
    """One variant of each kind of network: the first of each cell and directions in the first
    family, and the first of each other family."""
    first = type(next(iter(VARIANTS.values())).config)
    found: dict[tuple[str, ...], str] = {}
    for name, spec in VARIANTS.items():
        is_first = type(spec.config) is first
        directions = spec.config.directions if is_first else ""
        kind = (spec.config.cell, directions) if is_first else (type(spec.config).__name__,)
        found.setdefault(kind, name)
    return list(found.values())


@dataclass(kw_only=True)
class Steps:
    """Takes steps of one network on random batches of one length."""

    trained: Trained
    variant: str
    num_rows: int
    num_frames: int
    audio_seconds: float
    """Of a batch."""
    seed: int
    number: int = 0
    """Steps done."""

    @classmethod
    def of(
        cls,
        setting: Setting,
        *,
        variant_index: int,
        seconds: float,
        batch_seconds: float,
        seed: int = 0,
        precision: torch.dtype | None = None,
    ) -> "Steps":
        """Of the variant at `variant_index` of `surveyed`, in batches of `batch_seconds` of
        utterances of `seconds`; in a dry run of two short ones, through a small network."""
        variant, device = surveyed()[variant_index], torch.device(setting.device)
        if setting.is_dry:
            seconds, batch_seconds = 0.3, 0.6
        config = default_run_config(variant, CorpusConfig())
        small = {"model.width": 16, "model.num_layers": 1} if setting.is_dry else {}
        config = updated(config, {"seed": seed, **small})
        model = build_model(config).to(device)
        trained = Trained(
            config=config,
            model=model,
            replica=Replica(model),
            optimizer=build_optimizer(model, config.optim),
            average=ModelEma(model, config.training.average_decay),
            buffers=Buffers(model),
            device=device,
            precision=precision or default_precision(device),
        )
        num_rows = max(1, int(batch_seconds / seconds))
        num_frames = round(seconds * config.features.frames_per_second)
        return cls(
            trained=trained,
            variant=variant,
            num_rows=num_rows,
            num_frames=num_frames,
            audio_seconds=num_rows * seconds,
            seed=seed,
        )

    def losses(self, step: Step, count: int, *, jitter: int = 0) -> list[float]:
        """The losses of `count` steps; waits for the device once, at their end."""
        rows = [self._take(step, jitter, Clocks({}, self.trained.device)) for _ in range(count)]
        return [float(row[1]) for row in torch.stack(rows).cpu()]

    def timed(self, step: Step, count: int, *, jitter: int) -> Mapping[str, float]:
        """Host seconds by phase of `count` steps, and "all" of them in wall time; `jitter` frames
        more with each step, so that each has a new shape."""
        device = self.trained.device
        synchronize, clocks = synchronizer(device), Clocks({}, device)
        self._take(step, 0, Clocks({}, device))
        synchronize()
        begun = time.perf_counter()
        for _ in range(count):
            self._take(step, jitter, clocks)
        synchronize()
        return clocks.by_phase | {"all": time.perf_counter() - begun}

    def profiled(self, step: Step) -> tuple[float, float]:
        """Kernels launched in a step, and the share of its time in which the device is busy."""
        self.losses(step, 2)
        kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        begun = time.perf_counter()
        with torch.profiler.profile(activities=kinds) as profile:
            self.losses(step, 1)
        seconds = time.perf_counter() - begun
        kernels = [e for e in profile.events() if e.device_type == torch.profiler.DeviceType.CUDA]
        return len(kernels), sum(e.device_time_total for e in kernels) / 1e6 / seconds

    def _take(self, step: Step, jitter: int, clocks: Clocks) -> torch.Tensor:
        inputs = self._inputs(self.number % NUM_BATCHES, jitter * self.number)
        seed_torch(derive(self.seed, "dropout", self.number), self.trained.device)
        self.number += 1
        return step(self.trained, inputs, clocks)

    def _inputs(self, batch: int, more_frames: int) -> StepInputs:
        """A batch whose features and labels are random."""
        config, device = self.trained.config, self.trained.device
        rng = torch.Generator().manual_seed(derive(self.seed, "synthetic", batch))
        rows, frames = self.num_rows, self.num_frames + more_frames
        num_labels = max(1, round(self.audio_seconds / rows * LABELS_PER_SECOND))
        lens_B = torch.full((rows,), frames)
        out_lens_B = self.trained.model.output_lengths(lens_B)
        num_labels = min(num_labels, int(out_lens_B[0]) // 2)
        shape = Shape(
            num_utterances=rows,
            num_input_frames=frames,
            num_frames=frames,
            num_labels=num_labels,
        )
        return StepInputs(
            indices=tuple(range(rows)),
            feats_NTF=torch.randn(rows, frames, config.features.num_bins, generator=rng),
            old_lens_B=lens_B,
            new_lens_B=lens_B.clone(),
            out_lens_B=out_lens_B,
            targets_BS=torch.randint(1, NUM_SYMBOLS, (rows, num_labels), generator=rng),
            target_lens_B=torch.full((rows,), num_labels),
            draws=draw(rows, config.augment, rng),
            num_rows=torch.tensor(float(rows)),
            learning_rate=torch.tensor(config.optim.learning_rate),
            average_share=torch.tensor(1 - config.training.average_decay),
            dropout_seed=0,
            longest=frames,
            parts=((slice(0, rows), frames),),
            shape=shape,
        ).to(device)
