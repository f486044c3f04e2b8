"""What our training loop is measured against: the same network, trained in two usual ways.

*Plain* is what a careful engineer writes in an afternoon: cached features, batches of like length,
torch's own cells, convolutions and loss on padded input. *Family* is how the DeepSpeech
repositories train: audio is read and transformed whenever it is heard, in a DataLoader; batches are
shuffled; sequences are packed; metrics are sent to MLflow one at a time. Both start from the
weights that ours starts from and hide the same share of the features. What makes family slow is
only that: its features come from our own transforms, and its normalisation and dropout are ours.

Legend: B utterances, T frames, F feature bins, C inputs, H width, U output frames, V symbols.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from statistics import fmean
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from bench.core.seeding import derive, generator
from bench.costs.excerpt import audio_seconds
from bench.data.audio import read_utterance
from bench.data.augment import augment, draw_lengths
from bench.data.batches import Batch, Dataset, batches_from, copied, min_ctc_frames
from bench.data.features import CorpusStats, FeatureConfig, compute
from bench.data.text import BLANK, encode
from bench.data.utterance import Utterance
from bench.training.config import RunConfig
from bench.training.device import autocast, default_precision, exact_float32
from variants.layers import Directions, RecurrentLayer
from variants.ops import kernel
from variants.spec import AcousticModel

Log = Callable[[Mapping[str, float], int], None]
"""``log(metrics, step)``."""


class PackedLayer(nn.Module):
    """A RecurrentLayer as one torch cell of one or two directions, on packed input."""

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        ahead, back = layer.forward_cell, layer.backward_cell
        kind = {"nonlinearity": ahead.nonlinearity} if isinstance(ahead, nn.RNN) else {}
        make = cast(Callable[..., nn.RNNBase], type(ahead))
        self.cell = make(
            ahead.input_size,
            ahead.hidden_size,
            bias=ahead.bias,
            batch_first=True,
            bidirectional=back is not None,
            **kind,
        )
        weights = dict(ahead.named_parameters())
        if back is not None:
            weights |= {f"{name}_reverse": weight for name, weight in back.named_parameters()}
        self.cell.load_state_dict(weights)
        self.joined: Directions = layer.joined

    def forward(self, x_BTC: Tensor, lens_B: Tensor) -> Tensor:
        """[B, T, C] to [B, T, num_outputs]; zeros past each length."""
        packed = pack_padded_sequence(x_BTC, lens_B.cpu(), batch_first=True, enforce_sorted=False)
        out_BTH, _ = pad_packed_sequence(
            self.cell(packed)[0], batch_first=True, total_length=x_BTC.shape[1]
        )
        if self.joined != "sum":
            return out_BTH
        ahead_BTH, back_BTH = out_BTH.chunk(2, dim=-1)
        return ahead_BTH + back_BTH


def packed_copy(model: AcousticModel) -> AcousticModel | None:
    """A copy of `model` with each RecurrentLayer as a PackedLayer.

    None if it has none: then its recurrence is its own, and no other code computes it.
    """
    copy = deepcopy(model)
    places = [
        (parent, name, child)
        for parent in copy.modules()
        for name, child in parent.named_children()
        if isinstance(child, RecurrentLayer)
    ]
    for parent, name, child in places:
        setattr(parent, name, PackedLayer(child))
    return copy if places else None


@dataclass(frozen=True, kw_only=True)
class HeardBatch:
    """A batch on the CPU, and its audio without padding."""

    batch: Batch
    audio_seconds: float


class Baseline:
    """A network trained on one batch after another, as a short script would, all by torch."""

    def __init__(
        self,
        config: RunConfig,
        model: AcousticModel,
        batches: Iterator[HeardBatch],
        device: torch.device,
        log: Log | None = None,
    ) -> None:
        """Train `model` on `batches`, which never end; `log` gets the metrics of each step."""
        self._config, self._batches, self.device, self._log = config, batches, device, log
        self._model = model.to(device).train()
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.optim.learning_rate,
            weight_decay=config.optim.weight_decay,
        )
        self._num_steps = 0
        self.loss = float("nan")
        """Of the last step, in nats per symbol."""

    @kernel.unused()
    @exact_float32()
    def step(self) -> float:
        """Train on the next batch; returns its audio in seconds."""
        heard = next(self._batches)
        host = heard.batch
        config, device, model = self._config, self.device, self._model
        rng = generator(config.seed, "augment", self._num_steps)
        host_lens_B = draw_lengths(host, config.augment, model.output_lengths, rng)
        batch, feat_lens_B = host.to(device), copied(host_lens_B, device)
        feats_BTF = augment(batch, feat_lens_B, int(host_lens_B.max()), config.augment, rng)
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
        return heard.audio_seconds


def plain_batches(dataset: Dataset, config: RunConfig) -> Iterator[HeardBatch]:
    """Cached features in batches of like length: those that ours trains on, in the same order."""
    for indices in batches_from(dataset, config.batches, seed=config.seed):
        yield HeardBatch(
            batch=dataset.collate(indices), audio_seconds=audio_seconds(dataset, indices)
        )


def family_batches(dataset: Dataset, config: RunConfig, num_workers: int) -> Iterator[HeardBatch]:
    """Shuffled utterances, read and transformed each time, about as much audio in a batch as ours.

    `num_workers` processes of the DataLoader read ahead. On a CPU that is 0: every contender has
    the same one core, and a sweep gives the other cores to other runs.
    """
    mean_seconds = fmean(utterance.seconds for utterance in dataset.utterances)
    loader: DataLoader[tuple[Utterance, Tensor]] = DataLoader(
        _Recordings(dataset.utterances, config.features, dataset.store.stats),
        batch_size=max(1, round(config.batches.batch_seconds / mean_seconds)),
        shuffle=True,
        collate_fn=_collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        # A thread of the tracker runs by now, and a forked process would inherit its locks.
        multiprocessing_context="spawn" if num_workers else None,
        generator=torch.Generator().manual_seed(derive(config.seed, "family batches")),
    )
    while True:
        yield from cast(Iterator[HeardBatch], iter(loader))


class _Recordings(TorchDataset[tuple[Utterance, Tensor]]):
    """Utterances with their features, computed when asked for."""

    def __init__(
        self,
        utterances: tuple[Utterance, ...],
        config: FeatureConfig,
        stats: CorpusStats | None,
    ) -> None:
        self._utterances, self._config, self._stats = utterances, config, stats

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index: int) -> tuple[Utterance, Tensor]:
        utterance, config = self._utterances[index], self._config
        waveform_N = read_utterance(utterance, config.sample_rate_hz)
        return utterance, compute(waveform_N, config, self._stats)


def _collate(rows: list[tuple[Utterance, Tensor]]) -> HeardBatch:
    utterances, feats = zip(*rows, strict=True)
    labels = [torch.tensor(encode(u.text), dtype=torch.int64) for u in utterances]
    batch = Batch(
        feats_BTF=pad_sequence(list(feats), batch_first=True),
        feat_lens_B=torch.tensor([len(feats_TF) for feats_TF in feats]),
        targets=pad_sequence(labels, batch_first=True),
        target_lens_B=torch.tensor([len(label) for label in labels]),
        min_ctc_frames_B=torch.tensor([min_ctc_frames(u.text) for u in utterances]),
        ids=tuple(u.id for u in utterances),
    )
    return HeardBatch(batch=batch, audio_seconds=sum(u.seconds for u in utterances))
