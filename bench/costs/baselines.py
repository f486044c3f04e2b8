"""The baselines of the training loop: the same network, trained in two common ways.

*family*: as the DeepSpeech repositories train. Audio is read and transformed in every epoch by a
DataLoader; batches are shuffled; sequences are packed; metrics are sent to MLflow one at a time.
*torch_baseline*: a careful short script. Cached features, batches of similar length, torch's own
cells, convolutions and loss on padded input; on a GPU the features are kept there, and recurrences
are cuDNN's in bfloat16.

Both start from the same weights as the training loop and mask the same share of the features. The
family baseline uses this project's feature transforms, normalisation and dropout, so that it is
slower only for the reasons above.

Legend: B utterances, T frames, F feature bins, C inputs, H width, U output frames, V symbols.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from bench.core.cores import num_cores
from bench.core.seeding import derive, generator
from bench.costs.concurrency import child_processes
from bench.costs.data import network_and_excerpt
from bench.costs.interleaved import Baseline, Slice, run_slice
from bench.costs.timings import synchronizer
from bench.data.audio import read_utterance
from bench.data.augment import augment, draw, draw_lengths
from bench.data.batches import Batch, Dataset, batches_from, copied, min_ctc_frames
from bench.data.features import FeatureConfig, compute
from bench.data.resident import ResidentFeatures
from bench.data.text import BLANK
from bench.data.utterance import Corpus, Utterance
from bench.runs import set_mlflow_defaults
from bench.training.config import RunConfig
from bench.training.device import autocast, default_precision, exact_float32, resolve_device
from variants.layers import Directions, RecurrentLayer
from variants.ops import kernel, triton_runtime
from variants.spec import AcousticModel

FAMILY, TORCH_BASELINE = "family", "torch_baseline"
BASELINES = (FAMILY, TORCH_BASELINE)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BaselineSetting:
    """What the baselines train, and where; can be pickled."""

    config: RunConfig
    corpus: Corpus
    minutes: float
    """Training audio, see `excerpt`."""
    device: str
    """A torch device type."""
    tracking_uri: str
    """The store to which the family baseline logs."""


@contextmanager
def baselines(setting: BaselineSetting, model: AcousticModel) -> Iterator[Mapping[str, Baseline]]:
    """The baselines of `model`, the network of `setting`, by name.

    They train in a child process. This process keeps the memory that it frees (see
    bench.training.device), a setting of malloc for the whole process, which would make
    *torch_baseline* 15 % faster than in a script of its own.

    Empty for a network without a RecurrentLayer of torch's cells: torch has none like its own.
    """
    if packed_copy(model) is None:
        _logger.warning(
            "%s is measured without baselines: torch has no cell for its recurrence",
            setting.config.variant,
        )
        yield {}
        return
    with child_processes(1, _build_trainers, setting) as submit:

        def train_for(name: str, seconds: float) -> Slice:
            return submit(_run_slice, name, seconds).result()

        yield {name: partial(train_for, name) for name in BASELINES}


_trainers: dict[str, "BaselineTrainer"] = {}
"""By name; filled only in the child process of `baselines`."""


def _build_trainers(setting: BaselineSetting) -> None:
    set_mlflow_defaults()
    torch.set_num_threads(1)
    config, device = setting.config, resolve_device(setting.device)
    model, data = network_and_excerpt(config, setting.corpus, setting.minutes)
    packed = packed_copy(model)
    assert packed is not None
    # On a CPU each system has one core, since a sweep gives the other cores to other runs.
    num_workers = num_cores() if device.type == "cuda" else 0
    _trainers[FAMILY] = BaselineTrainer(
        config,
        packed,
        family_batches(data.train, config, num_workers),
        device,
        DirectLog(setting.tracking_uri, config.variant),
    )
    resident = ResidentFeatures(data.train, device) if device.type == "cuda" else None
    _trainers[TORCH_BASELINE] = BaselineTrainer(
        config,
        model,
        torch_baseline_batches(data.train, config, are_resident=resident is not None),
        device,
        resident=resident,
    )


def _run_slice(name: str, seconds: float) -> Slice:
    trainer = _trainers[name]
    return run_slice(trainer.step, seconds, synchronize=synchronizer(trainer.device))


Log = Callable[[Mapping[str, float], int], None]
"""``log(metrics, step)``; steps count from 1."""


class DirectLog:
    """A run in MLflow to which each metric is sent at once while training waits, as most training
    scripts do (`bench.runs.Tracker` avoids that)."""

    def __init__(self, uri: str, name: str) -> None:
        """Create the run `name`.

        Raises:
            UserError: a store that cannot be opened.
        """
        # Imported here because mlflow takes 1.5 s to import, which --help would wait for.
        from bench.runs.mlflow.store import connect

        store = connect(uri)
        self._client = store.client
        self._run_id = store.create_run(store.experiment("direct"), name, {}).info.run_id

    def __call__(self, metrics: Mapping[str, float], step: int) -> None:
        """Send each of `metrics` and wait for it."""
        for key, value in metrics.items():
            self._client.log_metric(self._run_id, key, value, step=step)


class PackedLayer(nn.Module):
    """A RecurrentLayer computed by one torch cell of one or two directions on packed input."""

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        forward_cell, *others = layer.torch_cells()
        backward_cell = others[0] if others else None
        is_rnn = isinstance(forward_cell, nn.RNN)
        kind = {"nonlinearity": forward_cell.nonlinearity} if is_rnn else {}
        make = cast(Callable[..., nn.RNNBase], type(forward_cell))
        self.cell = make(
            forward_cell.input_size,
            forward_cell.hidden_size,
            bias=forward_cell.bias,
            batch_first=True,
            bidirectional=backward_cell is not None,
            **kind,
        )
        weights = dict(forward_cell.named_parameters())
        if backward_cell is not None:
            weights |= {f"{name}_reverse": w for name, w in backward_cell.named_parameters()}
        self.cell.load_state_dict(weights)
        self.directions: Directions = layer.directions

    def forward(self, x_BTC: Tensor, lens_B: Tensor) -> Tensor:
        """[B, T, C] to [B, T, num_outputs], float32; zero in the padding."""
        packed = pack_padded_sequence(
            x_BTC.float(), lens_B.cpu(), batch_first=True, enforce_sorted=False
        )
        # In float32: autocast would compute it in float16, which needs loss scaling.
        with torch.autocast(x_BTC.device.type, enabled=False):
            states = self.cell(packed)[0]
        out_BTH, _ = pad_packed_sequence(states, batch_first=True, total_length=x_BTC.shape[1])
        if self.directions != "sum":
            return out_BTH
        forward_BTH, backward_BTH = out_BTH.chunk(2, dim=-1)
        return forward_BTH + backward_BTH


def packed_copy(model: AcousticModel) -> AcousticModel | None:
    """A copy of `model` with each RecurrentLayer replaced by a PackedLayer; None if it has none
    whose cells are torch's."""
    copy = deepcopy(model)
    # Collected first: replacing them changes the tree that `modules` walks.
    places = [
        (parent, name, child)
        for parent in copy.modules()
        for name, child in parent.named_children()
        if isinstance(child, RecurrentLayer) and child.torch_cells()
    ]
    for parent, name, child in places:
        setattr(parent, name, PackedLayer(child))
    return copy if places else None


@dataclass(frozen=True, kw_only=True)
class TimedBatch:
    """A batch on the CPU, with its duration."""

    batch: Batch
    audio_seconds: float
    """Without padding."""


class BaselineTrainer:
    """The training step of a short script, computed by torch alone."""

    def __init__(
        self,
        config: RunConfig,
        model: AcousticModel,
        batches: Iterator[TimedBatch],
        device: torch.device,
        log: Log | None = None,
        resident: ResidentFeatures | None = None,
    ) -> None:
        """`batches` is endless; `log` gets the metrics of each step; `resident` are the features
        in which the batches are places."""
        self._config, self._batches, self.device, self._log = config, batches, device, log
        self._resident = resident
        self._model = model.to(device).train()
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.optim.learning_rate,
            weight_decay=config.optim.weight_decay,
        )
        self._num_steps = 0
        self.loss = float("nan")
        """Of the last step, in nats per symbol; NaN before the first."""

    @kernel.unused()
    @triton_runtime.unused()
    @exact_float32()
    def step(self) -> float:
        """Train on the next batch; returns its seconds of audio, without padding."""
        timed = next(self._batches)
        host = timed.batch
        config, device, model = self._config, self.device, self._model
        # Drawn as the training loop draws: the same tempo and masks in the same step.
        rng = generator(config.seed, "augment", self._num_steps)
        lens = host.feat_lens_B, host.min_ctc_frames_B
        host_lens_B = draw_lengths(*lens, config.augment, model.output_lengths, rng)
        batch, feat_lens_B = host.to(device), copied(host_lens_B, device)
        draws = draw(len(host.ids), config.augment, rng).mapped(lambda t: copied(t, device))
        longest = int(host_lens_B.max())
        resident, feats_BTF = self._resident, batch.feats_BTF
        feats_BTF = resident.gather(feats_BTF).float() if resident else feats_BTF
        feats_BTF = augment(
            feats_BTF, batch.feat_lens_B, feat_lens_B, longest, config.augment, draws
        )
        with autocast(device, default_precision(device)):
            log_probs_BUV, out_lens_B = model(feats_BTF, feat_lens_B)
        log_probs_UBV = log_probs_BUV.float().transpose(0, 1)
        loss = F.ctc_loss(
            log_probs_UBV, batch.targets, out_lens_B, batch.target_lens_B, blank=BLANK
        )
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        grad_norm = clip_grad_norm_(model.parameters(), config.optim.max_grad_norm)
        self._optimizer.step()
        self._num_steps += 1
        self.loss = loss.item()
        if self._log:
            metrics = {
                "loss": self.loss,
                "learning_rate": self._optimizer.param_groups[0]["lr"],
                "grad_norm": grad_norm.item(),
            }
            self._log(metrics, self._num_steps)
        return timed.audio_seconds


def torch_baseline_batches(
    dataset: Dataset, config: RunConfig, *, are_resident: bool = False
) -> Iterator[TimedBatch]:
    """Cached features, or places in those that `are_resident` on the device; the training loop's
    own batches in the same order, without end."""
    for indices in batches_from(dataset, config.batches, seed=config.seed):
        yield TimedBatch(
            batch=dataset.collate(indices, as_places=are_resident),
            audio_seconds=dataset.seconds_of(indices),
        )


def family_batches(dataset: Dataset, config: RunConfig, num_workers: int) -> Iterator[TimedBatch]:
    """Shuffled utterances, read and transformed each time, without end.

    A batch has a fixed number of utterances, whose mean audio is `batches.batch_seconds`.
    `num_workers` processes of the DataLoader read ahead.
    """
    mean_seconds = fmean(utterance.seconds for utterance in dataset.utterances)
    loader: DataLoader[_Recording] = DataLoader(
        _Recordings(dataset, config.features),
        batch_size=max(1, round(config.batches.batch_seconds / mean_seconds)),
        shuffle=True,
        collate_fn=_collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        # Not forked: a thread of MLflow may hold a lock, which would stay locked in a fork.
        multiprocessing_context="spawn" if num_workers else None,
        generator=torch.Generator().manual_seed(derive(config.seed, "family batches")),
    )
    while True:
        yield from cast(Iterator[TimedBatch], iter(loader))


_Recording = tuple[Utterance, Tensor, list[int]]
"""An utterance, its features and its labels."""


class _Recordings(TorchDataset[_Recording]):
    """Utterances with their features, computed at each access."""

    def __init__(self, dataset: Dataset, config: FeatureConfig) -> None:
        self._dataset, self._config = dataset, config

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> _Recording:
        utterance, config = self._dataset.utterances[index], self._config
        waveform_N = read_utterance(utterance, config.sample_rate_hz)
        feats_TF = compute(waveform_N, config, self._dataset.store.stats)
        return utterance, feats_TF, self._dataset.labels(index)


def _collate(rows: list[_Recording]) -> TimedBatch:
    utterances, feats, spelled = zip(*rows, strict=True)
    labels = [torch.tensor(row, dtype=torch.int64) for row in spelled]
    batch = Batch(
        feats_BTF=pad_sequence(list(feats), batch_first=True),
        feat_lens_B=torch.tensor([len(feats_TF) for feats_TF in feats]),
        targets=pad_sequence(labels, batch_first=True),
        target_lens_B=torch.tensor([len(label) for label in labels]),
        min_ctc_frames_B=torch.tensor([min_ctc_frames(row) for row in spelled]),
        ids=tuple(u.id for u in utterances),
    )
    return TimedBatch(batch=batch, audio_seconds=sum(u.seconds for u in utterances))
