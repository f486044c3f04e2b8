"""Networks that read an utterance chunk by chunk, with the numbers of the whole utterance.

A network that streams is a chain of stages. Each keeps the state that its next frames need: the
frames that a later window reads again, the state of a recurrence, a chunk that is not complete.

Legend: T frames of a chunk, C channels, H width, V symbols, U output frames. One utterance at a
time: tensors are [1, T, …], and None stands for no frames.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from variants.ops.cells import ComposedCell, State
from variants.ops.recurrence import recur_from

BACKWARD_READS_THE_END = "its backward direction begins at the end of the utterance"
"""Why networks in two directions do not stream."""


class Stage(ABC):
    """A part of a network together with its state."""

    stride = 1
    """Input frames per output frame."""
    look_ahead_frames = 0
    """The most input frames past frame ``u * stride`` that output frame u waits for."""
    mean_look_ahead_frames = 0.0
    """Their mean over output frames."""

    @abstractmethod
    def push(self, x: Tensor | None, *, is_last: bool) -> Tensor | None:
        """The output frames that `x`, the next input frames, complete; with `is_last` all of them.

        After the last call the stage is used up.
        """


class Frames(Stage):
    """A function of each frame alone, such as a dense layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def push(self, x: Tensor | None, *, is_last: bool) -> Tensor | None:
        """The function of `x`."""
        return None if x is None else self._function(x)


class Windows(Stage):
    """A function of windows of frames, such as a convolution.

    Window u holds frames ``u * stride - left`` to ``u * stride - left + size - 1``; zeros stand for
    `left` frames before the first and `right` frames after the last.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        size: int,
        stride: int = 1,
        left: int,
        right: int,
    ) -> None:
        """``function([1, T, …])`` returns [1, (T - size) // stride + 1, …] for T >= size."""
        self.stride = stride
        self.look_ahead_frames = size - 1 - left
        self.mean_look_ahead_frames = float(self.look_ahead_frames)
        self._function, self._size, self._left, self._right = function, size, left, right
        self._kept: Tensor | None = None
        self._num_to_skip = 0

    def push(self, x: Tensor | None, *, is_last: bool) -> Tensor | None:
        """The outputs of the windows that `x` completes."""
        if x is not None:
            kept = _zeros(x, self._left) if self._kept is None else self._kept
            self._kept = torch.cat((kept, x), dim=1)
        if self._kept is None:
            return None
        if is_last:
            self._kept = torch.cat((self._kept, _zeros(self._kept, self._right)), dim=1)
        frames = self._kept[:, self._num_to_skip :]
        num_windows = (frames.shape[1] - self._size) // self.stride + 1
        if num_windows < 1:
            return None
        #     frames     0  1  2  3  4  5      size 3, stride 2: two windows are complete
        #     window 0   [-----]
        #     window 1         [-----]
        #     kept                   4  5      the next window begins at 4
        # The next window may begin after the last frame that is here, if the stride is that large.
        next_start = num_windows * self.stride
        self._num_to_skip = max(0, next_start - frames.shape[1])
        self._kept = frames[:, next_start:].clone()
        return self._function(frames[:, : (num_windows - 1) * self.stride + self._size])


def _zeros(x: Tensor, num_frames: int) -> Tensor:
    return x.new_zeros(1, num_frames, *x.shape[2:])


class Recurrence(Stage):
    """A recurrence in one direction; `step` maps (x [1, T, C], state) to ([1, T, H], state)."""

    def __init__(self, step: Callable[[Tensor, State | None], tuple[Tensor, State]]) -> None:
        self._step = step
        self._state: State | None = None

    def push(self, x: Tensor | None, *, is_last: bool) -> Tensor | None:
        """The outputs for `x`, from the state after the frames before."""
        if x is None:
            return None
        y, self._state = self._step(x, self._state)
        return y


def recurrence(cell: nn.RNNBase | ComposedCell) -> Recurrence:
    """The stage of a cell with one layer and direction."""
    return Recurrence(lambda x, state: recur_from(cell, x, state))


class Chunks(Stage):
    """A function of chunks of `num_frames` frames and the next `num_context` frames after each.

    ``function(x, num_valid)`` maps [1, num_frames + num_context, C], of which the first `num_valid`
    frames belong to the utterance, to [1, num_frames, H]; it keeps its own state.
    """

    def __init__(
        self, function: Callable[[Tensor, int], Tensor], num_frames: int, num_context: int
    ) -> None:
        self.look_ahead_frames = num_frames - 1 + num_context
        self.mean_look_ahead_frames = (num_frames - 1) / 2 + num_context
        self._function, self._num_frames, self._num_context = function, num_frames, num_context
        self._kept: Tensor | None = None

    def push(self, x: Tensor | None, *, is_last: bool) -> Tensor | None:
        """The outputs of the chunks that are complete with their context."""
        if x is not None:
            self._kept = x if self._kept is None else torch.cat((self._kept, x), dim=1)
        if self._kept is None:
            return None
        # Chunks of 4 frames with 2 of context; the context is read again as part of the next chunk:
        #
        #     frames     0  1  2  3  4  5  6  7  8  9
        #     chunk 0    [--------]  ....
        #     chunk 1                [--------]  ....
        outputs, size = [], self._num_frames + self._num_context
        while self._kept.shape[1] >= size or (is_last and self._kept.shape[1]):
            window = self._kept[:, :size]
            num_valid = window.shape[1]
            window = torch.cat((window, _zeros(window, size - num_valid)), dim=1)
            y = self._function(window, num_valid)
            outputs.append(y[:, : min(num_valid, self._num_frames)])
            self._kept = self._kept[:, self._num_frames :].clone()
        return torch.cat(outputs, dim=1) if outputs else None


class Stream:
    """One utterance on its way through a network: features in, log-probabilities out.

    Chunks of any sizes give the numbers of `AcousticModel.forward` in evaluation mode, up to
    rounding.
    """

    def __init__(self, stages: Sequence[Stage], num_symbols: int) -> None:
        """`stages` begin with the initial state of an utterance."""
        self._stages, self._num_symbols = stages, num_symbols
        self._is_over = False
        self.stride = 1
        """Input frames per output frame."""
        self.look_ahead_frames = 0
        """The most input frames past frame ``u * stride`` that output frame u waits for."""
        self.mean_look_ahead_frames = 0.0
        """Their mean over output frames."""
        # A stage counts in its own input frames, which are `stride` frames of the stream's each.
        #
        #     stage          stride    look-ahead      in input frames
        #     convolution    3         10              10
        #     look-ahead     1         10              10 * 3
        for stage in stages:
            self.look_ahead_frames += stage.look_ahead_frames * self.stride
            self.mean_look_ahead_frames += stage.mean_look_ahead_frames * self.stride
            self.stride *= stage.stride

    @torch.inference_mode()
    def push(self, feats_TF: Tensor, *, is_last: bool = False) -> Tensor:
        """Log-probabilities [U, V] float32 of the output frames that `feats_TF` completes.

        T and U may be 0. With `is_last` the utterance ends, and all of its frames are there.

        Raises:
            ValueError: the utterance has ended before.
        """
        if self._is_over:
            raise ValueError("push must not follow the last chunk; begin a new stream")
        self._is_over = is_last
        x = feats_TF[None] if len(feats_TF) else None
        for stage in self._stages:
            x = stage.push(x, is_last=is_last)
        return feats_TF.new_zeros(0, self._num_symbols) if x is None else x[0]
