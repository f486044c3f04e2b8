"""Batches: utterances of similar length, padded to the longest, limited by seconds of audio.

Legend: B utterances of a batch, T frames, F feature bins, S labels. All lengths are int64.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, count, pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.seeding import derive, numpy_generator
from bench.data.store import FeatureStore
from bench.data.units import Units
from bench.data.utterance import ExcludedUtterance, Utterance
from variants.spec import check_range

IntArray = npt.NDArray[np.int64]
T = TypeVar("T")
R = TypeVar("R")

LENGTH_JITTER = 0.05
"""Lengths are multiplied by a random factor in 1 ± this value before sorting, so that batches are
composed differently in each epoch."""

EVALUATION_FACTOR = 3
"""Batches of an evaluation hold this many times the audio of training batches: no activations are
stored for a backward pass, and larger matrix products are faster."""


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """Which utterances are trained on, and how they are grouped."""

    train_share: float = 1.0
    """Share of the training utterances that is used, chosen by a hash of their ids: the same for
    every run, and a smaller share is a subset of a larger one. The other splits are used whole."""

    batch_seconds: float = 60.0
    """Maximum audio in a batch, padding included; a longer utterance is a batch of its own."""
    sortagrad: bool = False
    """Order the first epoch from short to long (Deep Speech 2, arXiv:1512.02595, section 3.3)."""

    def __post_init__(self) -> None:
        check_range(self, "batch_seconds", above=0, below=math.inf)
        check_range(self, "train_share", above=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Padded utterances."""

    feats_BTF: Tensor
    """float32, or float16 as stored; 0 beyond an utterance's length. Of features that are resident
    on a device their places there, int64 [B, T, 1]."""
    feat_lens_B: Tensor
    targets: Tensor
    """int64 [B, S]; 0 beyond an utterance's labels."""
    target_lens_B: Tensor
    min_ctc_frames_B: Tensor
    """Output frames that CTC needs for each text, see `min_ctc_frames`; int64."""
    ids: tuple[str, ...]

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`."""
        return self._mapped(lambda tensor: copied(tensor, device))

    def pinned(self) -> "Batch":
        """The batch in pinned memory, from which copies to CUDA are asynchronous."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        tensors = {k: function(v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)  # type: ignore[arg-type]

    def rows(self, rows: slice) -> "Batch":
        """The utterances `rows`, with the padding that they need."""
        if rows.start == 0 and rows.stop >= len(self.ids):
            return self
        feat_lens_B, target_lens_B = self.feat_lens_B[rows], self.target_lens_B[rows]
        return Batch(
            feats_BTF=self.feats_BTF[rows, : int(feat_lens_B.max())].contiguous(),
            feat_lens_B=feat_lens_B,
            targets=self.targets[rows, : int(target_lens_B.max())].contiguous(),
            target_lens_B=target_lens_B,
            min_ctc_frames_B=self.min_ctc_frames_B[rows],
            ids=self.ids[rows],
        )


def copied(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; a copy to CUDA is asynchronous, from pinned memory."""
    pinned = tensor.pin_memory() if device.type == "cuda" and not tensor.is_pinned() else tensor
    return pinned.to(device, non_blocking=True)


class Dataset:
    """Utterances, their features and their labels, by index."""

    utterances: tuple[Utterance, ...]
    store: FeatureStore
    units: Units
    """Of the labels."""
    num_frames: IntArray
    """Frames of each utterance."""

    def __init__(self, utterances: Iterable[Utterance], store: FeatureStore, units: Units) -> None:
        self.utterances = tuple(utterances)
        self.store = store
        self.units = units
        self._rows = np.array([store.row(utterance.id) for utterance in self.utterances], np.int64)
        self.num_frames = store.lengths[self._rows]
        # Places of each utterance's first frame; place 0 is padding:
        #
        #     num_frames    3    2    4
        #     cumsum        3    5    9
        #     starts        1    4    6          1 + the frames before it
        self._starts = 1 + np.cumsum(self.num_frames) - self.num_frames

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def seconds(self) -> float:
        """Total audio, without padding."""
        return sum(utterance.seconds for utterance in self.utterances)

    def seconds_of(self, indices: Iterable[int]) -> float:
        """Audio of the utterances at `indices`, without padding."""
        return sum(self.utterances[index].seconds for index in indices)

    @property
    def num_places(self) -> int:
        """Frames of all utterances, and one of padding: see bench.data.resident."""
        return 1 + int(self.num_frames.sum())

    def stored(self, index: int) -> npt.NDArray[np.float16]:
        """Features [T, F] of the utterance at `index`, as stored."""
        return self.store.read(self._rows[index])

    def labels(self, index: int) -> list[int]:
        """The text of the utterance at `index`, in `units`."""
        return self.units.encode(self.utterances[index].text)

    def collate(
        self, indices: Sequence[int], *, as_stored: bool = False, as_places: bool = False
    ) -> Batch:
        """The utterances at `indices` as one batch in that order, on the CPU; the features are
        float32 or, `as_stored`, float16, or `as_places` in ResidentFeatures."""
        feat_lens = self.num_frames[np.asarray(indices)]
        if as_places:
            feats_BTF = torch.from_numpy(self._places(indices, feat_lens))
        else:
            # Collected as float16 and converted once by torch: NumPy's conversion is slow.
            stored_BTF = torch.from_numpy(self._stored(indices, feat_lens))
            feats_BTF = stored_BTF if as_stored else stored_BTF.float()
        labels = [self.labels(index) for index in indices]
        target_lens = np.array([len(row) for row in labels])
        targets = np.zeros((len(indices), target_lens.max()), np.int64)
        # A boolean mask is filled row by row, so one assignment places the labels of all texts.
        #
        #     texts       mask        labels in one row     targets
        #     "ab"        1 1 0       a b c d e f           a b 0
        #     "c"         1 0 0                             c 0 0
        #     "def"       1 1 1                             d e f
        targets[np.arange(targets.shape[1]) < target_lens[:, None]] = list(chain(*labels))
        return Batch(
            feats_BTF=feats_BTF,
            feat_lens_B=torch.from_numpy(feat_lens),
            targets=torch.from_numpy(targets),
            target_lens_B=torch.from_numpy(target_lens),
            min_ctc_frames_B=torch.tensor([min_ctc_frames(row) for row in labels]),
            ids=tuple(self.utterances[index].id for index in indices),
        )

    def _stored(self, indices: Sequence[int], lens_B: IntArray) -> npt.NDArray[np.float16]:
        """Features [B, T, F], 0 in the padding."""
        feats = np.zeros((len(indices), lens_B.max(), self.store.config.num_bins), np.float16)
        for place, index in enumerate(indices):
            feats[place, : lens_B[place]] = self.stored(index)
        return feats

    def _places(self, indices: Sequence[int], lens_B: IntArray) -> IntArray:
        """Places [B, T, 1] of the frames, 0 in the padding."""
        frame_T = np.arange(lens_B.max())
        places_BT = self._starts[np.asarray(indices)][:, None] + frame_T
        return np.where(frame_T < lens_B[:, None], places_BT, 0)[..., None]


def in_background(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map`` with one thread that computes the next result while the caller works on this one."""
    with ThreadPoolExecutor(1, thread_name_prefix="collate") as thread:
        # `pairwise` takes item i + 1 from the generator, and so submits it to the thread, before it
        # yields item i. `end` makes the last item the first of a pair too.
        submitted = (thread.submit(function, item) for item in items)
        end: Future[R] = Future()
        for future, _ in pairwise(chain(submitted, [end])):
            yield future.result()


def thinned(utterances: Sequence[Utterance], share: float) -> tuple[Utterance, ...]:
    """The `utterances` (at least one) that BatchConfig.train_share selects, in their order."""
    # Ranked by a hash of the id, not shuffled: so every share is a prefix of the same order.
    ranked = sorted(utterances, key=lambda u: derive(0, f"train_share/{u.id}"))
    chosen = {u.id for u in ranked[: max(1, round(share * len(ranked)))]}
    return tuple(u for u in utterances if u.id in chosen)


def epoch_order(dataset: Dataset, config: BatchConfig, *, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch of training; each index of `dataset` occurs once.

    A function of the arguments and of the utterances' lengths only, so a resumed run computes it
    again. Utterances of similar length share a batch; the order of batches is random, except that
    epoch 0 begins with the largest batch, so that a batch that does not fit into memory is found at
    once. With `sortagrad`, epoch 0 goes from short to long.
    """
    if config.sortagrad and epoch == 0:
        return _cut(np.argsort(dataset.num_frames, kind="stable"), dataset, config.batch_seconds)
    # Sorted by jittered length, cut, and then shuffled batch by batch:
    #
    #     lengths, sorted    2 2 3 3 3 | 4 4 5 5 | 7 7 8 | 12 13
    #     batches            A           B         C       D
    #     an epoch           C, A, D, B        epoch 0: D, C, A, B (the largest first)
    #
    # The generator is derived from seed and epoch, not passed on from epoch to epoch: a run that is
    # resumed in epoch 7 need not draw the six before it.
    rng = numpy_generator(seed, "batches", epoch)
    jitter = rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(dataset))
    order = np.argsort(dataset.num_frames * jitter, kind="stable")
    batches = _cut(order, dataset, config.batch_seconds)
    shuffled = [batches[place] for place in rng.permutation(len(batches))]
    if epoch == 0:
        sizes = [len(batch) * dataset.num_frames[batch].max() for batch in shuffled]
        shuffled.insert(0, shuffled.pop(int(np.argmax(sizes))))
    return shuffled


def batches_from(
    dataset: Dataset, config: BatchConfig, *, seed: int, epoch: int = 0, batch: int = 0
) -> Iterator[list[int]]:
    """The batches of `epoch_order`, epoch after epoch without end, from batch `batch` of epoch
    `epoch` on."""
    for number in count(epoch):
        order = epoch_order(dataset, config, seed=seed, epoch=number)
        yield from order[batch if number == epoch else 0 :]


def micro_batches(num_rows: int, num_parts: int, num_views: int = 1) -> list[slice]:
    """Slices that divide the rows of a batch into at most `num_parts` parts of equal size, the last
    of which may be smaller.

    The `num_views` adjacent rows of an utterance stay in one part.
    """
    # Seven utterances of two views in three parts:
    #
    #     rows     0  1 | 2  3 | 4  5 | 6  7 | 8  9 | 10 11 | 12 13
    #     parts    [------- 0 --------] [------- 1 ---------] [- 2 -]
    size = math.ceil(num_rows / num_views / num_parts) * num_views
    return [slice(first, first + size) for first in range(0, num_rows, size)]


def evaluation_order(dataset: Dataset, config: BatchConfig) -> list[list[int]]:
    """Batches by length, longest first: a batch that does not fit into memory is found at once."""
    seconds = EVALUATION_FACTOR * config.batch_seconds
    return _cut(np.argsort(-dataset.num_frames, kind="stable"), dataset, seconds)


def padding_share(order: list[list[int]], num_frames: IntArray) -> float:
    """Padding frames over all frames of the batches."""
    padded = sum(len(batch) * int(num_frames[batch].max()) for batch in order)
    return 1 - int(sum(num_frames[batch].sum() for batch in order)) / padded


def min_ctc_frames(labels: Sequence[object]) -> int:
    """The smallest number of output frames for which `labels` have a CTC path; at least 1.

    One frame per label, and one for the blank between two equal labels (Graves et al. 2006,
    section 3): the letters of ``hello`` need 6.
    """
    repeats = sum(a == b for a, b in pairwise(labels))
    return max(1, len(labels) + repeats)


def feasible_subset(
    dataset: Dataset, output_lengths: Callable[[Tensor], Tensor]
) -> tuple[Dataset, list[ExcludedUtterance]]:
    """The utterances with as many output frames as CTC needs, and the others, with the reason.

    `output_lengths` gives the network's output frames for numbers of input frames (int64).
    """
    feasible, excluded = [], []
    num_output_frames = output_lengths(torch.from_numpy(dataset.num_frames)).tolist()
    for index, available in enumerate(num_output_frames):
        utterance, needed = dataset.utterances[index], min_ctc_frames(dataset.labels(index))
        if available >= needed:
            feasible.append(utterance)
            continue
        reason = f"its text needs {needed} output frames and its audio gives {available}"
        excluded.append(ExcludedUtterance(id=utterance.id, split=utterance.split, reason=reason))
    return Dataset(feasible, dataset.store, dataset.units), excluded


def _cut(order: IntArray, dataset: Dataset, batch_seconds: float) -> list[list[int]]:
    """Divide `order` into consecutive batches of at most `batch_seconds`, padding included."""
    # A batch of n utterances has n times as many frames as its longest utterance. `order` may run
    # from long to short or the reverse, so the longest so far is tracked, not taken from one end.
    most = batch_seconds * dataset.store.config.frames_per_second
    batches: list[list[int]] = []
    longest = 0
    for index, frames in zip(order.tolist(), dataset.num_frames[order].tolist(), strict=True):
        longest = max(longest, frames)
        if not batches or longest * (len(batches[-1]) + 1) > most:
            batches.append([])
            longest = frames
        batches[-1].append(index)
    return batches
