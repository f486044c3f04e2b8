"""Everything that a training step reads besides the state of the run, filled in the background.

Legend: B rows, N utterances, T frames, F feature bins, S labels. A row is an utterance, or one of
its adjacent views (see bench.training.consistency); further rows may be padding, of length 0.

A thread collates the next batch, draws its random numbers and pins it while the device works on
this one. A step itself copies nothing from the host, so that a CUDA graph can capture it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.seeding import derive, generator
from bench.data.augment import Draws, draw, draw_lengths
from bench.data.batches import Dataset, batches_from, in_background, micro_batches
from bench.training.config import RunConfig
from bench.training.model_ema import decay_at
from bench.training.optim import learning_rate_at
from bench.training.shapes import Shape, Shapes


@dataclass(frozen=True, kw_only=True)
class StepInputs:
    """The inputs of one step: tensors on one device, and the host's own knowledge of them."""

    indices: tuple[int, ...]
    """Utterances of the dataset, in the order of the rows."""
    feats_NTF: Tensor
    """float32 on a CPU, else float16 as stored, or places in `Trained.features`, int64 [N, T, 1];
    once for all views of an utterance."""
    old_lens_B: Tensor
    new_lens_B: Tensor
    """Frames after the change of tempo."""
    out_lens_B: Tensor
    """Output frames of the network; 0 for rows of padding."""
    targets_BS: Tensor
    target_lens_B: Tensor
    draws: Draws
    num_rows: Tensor
    """float32 []: rows without those of padding."""
    learning_rate: float | Tensor
    """float32 [] on CUDA, and wherever steps are captured."""
    average_share: float | Tensor
    """Weight of this step's weights in their moving average; float32 [] on CUDA."""
    dropout_seed: int
    """For torch's global generators, seeded before the step."""
    longest: int
    """Frames after the change of tempo, of the longest row or as the shape prescribes."""
    parts: tuple[tuple[slice, int], ...]
    """The rows of each micro-batch, and its frames."""
    shape: Shape | None
    """What the tensors were padded to; None: to the longest utterance."""

    @property
    def extent(self) -> Shape:
        """What the batch needs of a shape."""
        return Shape(
            num_utterances=len(self.feats_NTF),
            num_input_frames=self.feats_NTF.shape[1],
            num_frames=self.longest,
            num_labels=self.targets_BS.shape[1],
        )

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "StepInputs":
        """The same inputs with each tensor after `function`."""
        changed = {
            field.name: function(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **changed, draws=self.draws.mapped(function))  # type: ignore[arg-type]

    def tensors(self) -> list[Tensor]:
        """All tensors, in an order that inputs of the same shape share."""
        found: list[Tensor] = []
        self.mapped(lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
        return found

    def to(self, device: torch.device) -> "StepInputs":
        """The inputs on `device`; copies to CUDA are asynchronous, from pinned memory."""
        if device.type == "cpu":
            return self
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True, kw_only=True)
class InputPlan:
    """How the inputs of a run's steps are made; a step's are a function of plan and step."""

    config: RunConfig
    dataset: Dataset
    output_lengths: Callable[[Tensor], Tensor]
    """The network's output frames for numbers of input frames."""
    num_steps: int
    """Of the whole run."""
    num_micro_batches: int
    device: torch.device
    shapes: Shapes | None
    """What batches are padded to; None: each to its longest utterance."""
    are_resident: bool = False
    """Whether the features are on the device already, so that only their places are copied."""
    rank: int = 0
    num_ranks: int = 1
    """Processes that divide the rows of each batch."""

    def from_step(self, step: int, *, epoch: int, batch: int) -> Iterator[StepInputs]:
        """The inputs of `step`, which is batch `batch` of epoch `epoch`, and of those after it, on
        the CPU, without end."""
        config = self.config
        place = {"epoch": epoch, "batch": batch}
        order = batches_from(self.dataset, config.batches, seed=config.seed, **place)
        numbered = zip(count(step), order, strict=False)
        return in_background(lambda item: self._pinned(self.filled(*item)), numbered)

    def filled(self, step: int, indices: list[int]) -> StepInputs:
        """The inputs of `step` (from 0), a batch of the utterances `indices`, on the CPU."""
        config = self.config
        on_cuda = self.device.type == "cuda"
        as_tensors = on_cuda or self.shapes is not None
        rng = generator(config.seed, "augment", step)
        host = self.dataset.collate(indices, as_stored=on_cuda, as_places=self.are_resident)
        lens_N, needed_N = host.feat_lens_B, host.min_ctc_frames_B
        new_lens_N = draw_lengths(lens_N, needed_N, config.augment, self.output_lengths, rng)
        num_views = config.training.num_views
        # Views of an utterance share its tempo; warp, masks and dropout are drawn per view.
        rows = partial(torch.Tensor.repeat_interleave, repeats=num_views)
        new_lens_B = rows(new_lens_N)
        decay = config.training.average_decay
        rate = learning_rate_at(step, self.num_steps, config.optim)
        share = 1 - decay_at(step, decay)
        inputs = StepInputs(
            indices=tuple(indices),
            feats_NTF=host.feats_BTF,
            old_lens_B=rows(lens_N),
            new_lens_B=new_lens_B,
            out_lens_B=self.output_lengths(new_lens_B),
            targets_BS=host.targets.repeat_interleave(num_views, dim=0),
            target_lens_B=rows(host.target_lens_B),
            draws=draw(len(new_lens_B), config.augment, rng),
            num_rows=torch.tensor(float(len(new_lens_B))),
            learning_rate=torch.tensor(rate) if as_tensors else rate,
            average_share=torch.tensor(share) if as_tensors else share,
            dropout_seed=derive(config.seed, "dropout", step),
            longest=_longest(new_lens_B),
            parts=(),
            shape=None,
        )
        shape = self.shapes.smallest(inputs.extent) if self.shapes else None
        inputs = inputs if shape is None else padded(inputs, shape, num_views)
        if self.num_ranks > 1:
            inputs = rows_of_rank(inputs, self.rank, self.num_ranks, num_views)
        return self._divided(inputs)

    def _divided(self, inputs: StepInputs) -> StepInputs:
        """With the rows of each micro-batch, whose frames are cut to its longest row unless the
        shape is prescribed, or a rank may have rows of padding alone."""
        num_rows, num_views = len(inputs.new_lens_B), self.config.training.num_views
        slices = micro_batches(num_rows, self.num_micro_batches, num_views)

        is_cut = inputs.shape is None and self.num_ranks == 1

        def frames(rows: slice) -> int:
            return _longest(inputs.new_lens_B[rows]) if is_cut else inputs.longest

        return replace(inputs, parts=tuple((rows, frames(rows)) for rows in slices))

    def _pinned(self, inputs: StepInputs) -> StepInputs:
        return inputs.mapped(Tensor.pin_memory) if self.device.type == "cuda" else inputs


_LENGTHS = ("old_lens_B", "new_lens_B", "out_lens_B", "target_lens_B")


def padded(inputs: StepInputs, shape: Shape, num_views: int) -> StepInputs:
    """`inputs`, on the CPU, padded to `shape` with frames of 0 and rows of length 0.

    Such rows have no output frames and no labels, so their loss is exactly 0, without gradient.
    """
    #                  frames
    #     rows         [ utterances      | 0 ]
    #                  [ 0 (length 0)    | 0 ]
    rows = (shape.num_utterances - len(inputs.feats_NTF)) * num_views
    frames = shape.num_input_frames - inputs.feats_NTF.shape[1]
    labels = shape.num_labels - inputs.targets_BS.shape[1]
    lens = {name: F.pad(getattr(inputs, name), (0, rows)) for name in _LENGTHS}
    return replace(
        inputs,
        **lens,  # type: ignore[arg-type]
        feats_NTF=F.pad(inputs.feats_NTF, (0, 0, 0, frames, 0, rows // num_views)),
        targets_BS=F.pad(inputs.targets_BS, (0, labels, 0, rows)),
        # Rows are the second dimension from the end.
        draws=inputs.draws.mapped(lambda tensor: F.pad(tensor, (0, 0, 0, rows))),
        longest=shape.num_frames,
        shape=shape,
    )


def rows_of_rank(inputs: StepInputs, rank: int, num_ranks: int, num_views: int) -> StepInputs:
    """The rows of `inputs`, on the CPU, that `rank` computes; with padding all ranks have equally
    many, since they wait for each other.

    `indices`, `num_rows` and `longest` stay those of the whole batch. Each rank has dropout of its
    own, so with dropout the numbers depend on the number of ranks, as on that of micro-batches.
    """
    #     utterances       0  1  2 | 3  4  .      . is padding: five utterances for two ranks
    #     ranks            [- 0 -]   [- 1 -]
    extent = inputs.extent
    num_own = -(-extent.num_utterances // num_ranks)
    even = padded(inputs, replace(extent, num_utterances=num_own * num_ranks), num_views)
    utterances = slice(rank * num_own, (rank + 1) * num_own)
    rows = slice(utterances.start * num_views, utterances.stop * num_views)
    return replace(
        even,
        **{name: getattr(even, name)[rows] for name in (*_LENGTHS, "targets_BS")},
        feats_NTF=even.feats_NTF[utterances],
        draws=even.draws.mapped(lambda tensor: tensor[..., rows, :].contiguous()),
        dropout_seed=derive(inputs.dropout_seed, "rank", rank) if rank else inputs.dropout_seed,
        shape=inputs.shape,
    )


def _longest(lens_B: Tensor) -> int:
    return int(lens_B.numpy().max())
