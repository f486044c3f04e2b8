"""Training steps on synthetic batches: what a step costs, without a corpus or its way from disk.
Batches are made, and on the device, before the time of the steps on them begins.

Legend: B rows, T frames, F feature bins, S labels.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from bench.core.config import updated
from bench.core.seeding import derive, seed_torch
from bench.costs.survey import Setting
from bench.costs.timings import synchronizer
from bench.data.augment import draw
from bench.data.corpora import CorpusConfig
from bench.training.clocks import Clocks
from bench.training.config import build_model, default_run_config
from bench.training.inputs import StepInputs
from bench.training.shapes import Shape
from bench.training.step import Step, Trained
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
    _made: dict[tuple[int, int], StepInputs] = field(default_factory=dict)
    """Batches by number and frames more than `num_frames`."""

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
        num_rows = max(1, int(batch_seconds / seconds))
        num_frames = round(seconds * config.features.frames_per_second)
        return cls(
            trained=Trained.of(config, model, device, precision),
            variant=variant,
            num_rows=num_rows,
            num_frames=num_frames,
            audio_seconds=num_rows * seconds,
            seed=seed,
        )

    def losses(self, step: Step, count: int) -> list[float]:
        """The losses of `count` steps; waits for the device once, at their end."""
        clocks = Clocks({}, self.trained.device)
        rows = [self._take(step, inputs, clocks) for inputs in self._batches(count)]
        return [float(row[1]) for row in torch.stack(rows).cpu()]

    def seconds(self, step: Step, count: int) -> float:
        """Wall time of `count` steps, the device's work included."""
        return self.timed(step, count)["all"]

    def rate(self, step: Step, count: int) -> float:
        """Audio seconds a second of `count` steps."""
        return count * self.audio_seconds / self.seconds(step, count)

    def timed(self, step: Step, count: int, *, jitter: int = 0) -> Mapping[str, float]:
        """Host seconds by phase of `count` steps, and "all" of them in wall time; `jitter` frames
        more with each step, so that each has a new shape."""
        device, batches = self.trained.device, self._batches(count, jitter)
        synchronize, clocks = synchronizer(device), Clocks({}, device)
        synchronize()
        begun = time.perf_counter()
        for inputs in batches:
            self._take(step, inputs, clocks)
        synchronize()
        return clocks.by_phase | {"all": time.perf_counter() - begun}

    def profiled(self, step: Step) -> tuple[float, float]:
        """Kernels launched in a step, and the share of its time in which the device is busy. The
        time is that of steps without the profiler, which would make the host slower."""
        self.losses(step, NUM_BATCHES)  # which makes all batches
        seconds = self.seconds(step, NUM_BATCHES) / NUM_BATCHES
        kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=kinds) as profile:
            self.losses(step, 1)
        kernels = [e for e in profile.events() if e.device_type == torch.profiler.DeviceType.CUDA]
        return len(kernels), sum(e.device_time_total for e in kernels) / 1e6 / seconds

    def _batches(self, count: int, jitter: int = 0) -> list[StepInputs]:
        """Those of the next `count` steps, on the device."""
        keys = [(n % NUM_BATCHES, jitter * n) for n in range(self.number, self.number + count)]
        for key in keys:
            if key not in self._made:
                self._made[key] = self._inputs(*key)
        return [self._made[key] for key in keys]

    def _take(self, step: Step, inputs: StepInputs, clocks: Clocks) -> torch.Tensor:
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
        # At most half as many labels as output frames: then CTC has a path, whichever labels
        # repeat.
        num_labels = min(num_labels, int(out_lens_B[0]) // 2)
        feats_NTF = torch.randn(rows, frames, config.features.num_bins, generator=rng)
        shape = Shape(
            num_utterances=rows,
            num_input_frames=frames,
            num_frames=frames,
            num_labels=num_labels,
        )
        return StepInputs(
            indices=tuple(range(rows)),
            feats_NTF=feats_NTF.half() if device.type == "cuda" else feats_NTF,
            old_lens_B=lens_B,
            new_lens_B=lens_B.clone(),
            out_lens_B=out_lens_B,
            targets_BS=torch.randint(
                1, config.units.num_symbols, (rows, num_labels), generator=rng
            ),
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
