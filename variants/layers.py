"""Layers shared by the families; valid frames never depend on the padding.

Legend: B batch, T frames, F feature bins, C channels, H width, U output frames; ``lens_B`` int64.
Each utterance starts at the first frame of its row and is followed by padding:

    lens_B = [5, 3]     x_BT = [[a b c d e], [f g h · ·]]

Batches are padded and masked, never packed (packing is 5 to 31 times slower on a CPU). Forward
recurrences may continue into the padding, since it comes last. Convolutions, backward recurrences
and batch statistics must not read it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.ops import triton_recurrence
from variants.ops.cells import COMPOSED, ComposedCell, State
from variants.ops.convolution import convolve
from variants.ops.normalization import Norm, Normalization
from variants.ops.padding import reverse_by_length, zero_padding
from variants.ops.recurrence import recur, recur_directions, recur_from
from variants.streaming import Frames, Stage, Windows

TorchCell = Literal["rnn", "gru", "lstm", "relu_rnn"]
Cell = TorchCell | Literal["mingru", "minlstm", "qrnn", "sru", "ligru"]
Directions = Literal["forward", "sum", "concat"]
"""Forward only, or two directions whose outputs are summed or concatenated."""

CELLS: Mapping[TorchCell, Callable[..., nn.RNNBase]] = {
    "rnn": nn.RNN,
    "relu_rnn": partial(nn.RNN, nonlinearity="relu"),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}
"""The cells of torch; the others are `variants.ops.cells.COMPOSED`."""


def conv_lengths(lens_B: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """floor((T + 2 padding - kernel) / stride) + 1; 0 for inputs shorter than the kernel, and for
    rows of padding (T = 0)."""
    return ((lens_B + 2 * padding - kernel) // stride + 1).clamp(min=0) * (lens_B > 0)


def stack_context(x_BTF: Tensor, lens_B: Tensor, context: int) -> Tensor:
    """Each frame with `context` frames on either side, oldest first: [B, T, (2 context + 1) F].

    Zeros stand for frames before the first and after the last of an utterance.
    """
    # unfold puts a window's frames last, [B, T, F, 2 context + 1]; frame by frame they are [.., 2
    # context + 1, F].
    padded = F.pad(zero_padding(x_BTF, lens_B), (0, 0, context, context))
    return padded.unfold(1, 2 * context + 1, 1).transpose(2, 3).flatten(2)


class MaskedConv(nn.Module):
    """A convolution over time: (x [B, T, …], lens_B) to (y [B, U, …], out_lens_B)."""

    def __init__(self, conv: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.channels = conv.out_channels
        # Of frames, the last dimension of the weights [C', C, frames] or [C', C, bins, frames].
        self.kernel, self.stride = conv.kernel_size[-1], conv.stride[-1]
        self.padding = cast(tuple[int, ...], conv.padding)[-1]

    def convolve(self, x: Tensor, *, is_padded: bool = False) -> Tensor:
        """[B, T, …] to [B, U, …]; no zeros are added to an `x` that `is_padded` in time already."""
        raise NotImplementedError

    def output_lengths(self, lens_B: Tensor) -> Tensor:
        """Output frames for numbers of input frames."""
        return conv_lengths(lens_B, self.kernel, self.stride, self.padding)

    def forward(self, x: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve, with the padding set to zero first."""
        x = zero_padding(x, lens_B)
        lacking = self.kernel - 2 * self.padding - x.shape[1]
        if lacking > 0:  # torch rejects inputs shorter than the kernel
            # F.pad counts from the last dimension; frames are the second from the front.
            x = F.pad(x, (*(0, 0) * (x.dim() - 2), 0, lacking))
        return self.convolve(x), self.output_lengths(lens_B)

    def stage(self) -> Stage:
        """The convolution of an utterance in chunks."""
        return Windows(
            partial(self.convolve, is_padded=True),
            size=self.kernel,
            stride=self.stride,
            left=self.padding,
            right=self.padding,
        )


class MaskedConv1d(MaskedConv):
    """x is [B, T, C], y [B, U, C']."""

    conv: nn.Conv1d

    def __init__(
        self, num_inputs: int, channels: int, kernel: int, stride: int, padding: int, bias: bool
    ) -> None:
        super().__init__(nn.Conv1d(num_inputs, channels, kernel, stride, padding, bias=bias))

    def convolve(self, x: Tensor, *, is_padded: bool = False) -> Tensor:
        """See MaskedConv."""
        return convolve(self.conv, x, is_padded=is_padded)


class MaskedConv2d(MaskedConv):
    """x is [B, T, F, C], y [B, U, F', C']; kernel, stride and padding are (bins, frames)."""

    conv: "_Conv2dFramesFirst"

    def __init__(
        self,
        num_inputs: int,
        channels: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> None:
        super().__init__(_Conv2dFramesFirst(num_inputs, channels, kernel, stride, padding))

    def convolve(self, x: Tensor, *, is_padded: bool = False) -> Tensor:
        """See MaskedConv."""
        y_BCUF: Tensor = self.conv(x.permute(0, 3, 1, 2), is_padded=is_padded)
        return y_BCUF.permute(0, 2, 3, 1)


class _Conv2dFramesFirst(nn.Conv2d):
    """Weights [C', C, bins, frames], as published; input and output [B, C, frames, bins].

    A permuted [B, T, F, C] is then in torch's "channels last" memory format, which convolutions
    read and write without a copy; [B, C, bins, frames] would be copied several times.
    """

    def forward(self, x_BCTF: Tensor, *, is_padded: bool = False) -> Tensor:
        padding_bins, padding_frames = cast(tuple[int, int], self.padding)
        padding = (0 if is_padded else padding_frames, padding_bins)
        kernel, stride = self.weight.transpose(2, 3), self.stride[::-1]
        return F.conv2d(x_BCTF, kernel, self.bias, stride, padding)


class ConvStack(nn.Module):
    """Convolutions, each with a norm and a clipped ReLU; `num_outputs` values per output frame.

    With `norm_first` the norm comes before the ReLU, as in Deep Speech 2; otherwise after it, as in
    Kur, so that the input of the next layer has mean 0.
    """

    num_outputs: int

    def __init__(
        self,
        convs: Sequence[MaskedConv],
        norm: Norm,
        relu_clip: float,
        *,
        norm_first: bool,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(Normalization(norm, conv.channels) for conv in convs)
        self.activation = nn.Hardtanh(0.0, relu_clip)

    def output_lengths(self, lens_B: Tensor) -> Tensor:
        """Output frames for numbers of input frames."""
        for conv in self.convs:
            lens_B = cast(MaskedConv, conv).output_lengths(lens_B)
        return lens_B

    def forward(self, x: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y [B, U, num_outputs], out_lens_B) for x [B, T, F]."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x, lens_B = conv(x, lens_B)
            if self.norm_first:
                x = self.activation(norm(x, lens_B))
            else:
                x = norm(self.activation(x), lens_B)
        return x, lens_B

    def stages(self) -> list[Stage]:
        """The convolutions of an utterance [1, T, F] in chunks."""
        stages: list[Stage] = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            stages.append(cast(MaskedConv, conv).stage())
            parts: list[Callable[[Tensor], Tensor]] = [in_chunks(norm), self.activation]
            first, second = parts if self.norm_first else parts[::-1]
            stages += [Frames(first), Frames(second)]
        return stages


def in_chunks(norm: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`norm`, called with lengths, as a function of valid frames alone [1, T, …]."""
    return lambda x: norm(x, torch.tensor([x.shape[1]], device=x.device))


class ConvStack1d(ConvStack):
    """Convolutions over time. A row of `convs` is (channels, kernel frames, stride frames).

    The padding is half of the kernel.
    """

    def __init__(
        self,
        num_bins: int,
        convs: tuple[tuple[int, ...], ...],
        norm: Norm,
        relu_clip: float,
        *,
        norm_first: bool = True,
    ) -> None:
        layers, num_inputs = [], num_bins
        for channels, kernel, stride in convs:
            # A norm directly after the convolution has a bias itself.
            padding, bias = kernel // 2, norm == "none" or not norm_first
            layers.append(MaskedConv1d(num_inputs, channels, kernel, stride, padding, bias))
            num_inputs = channels
        super().__init__(layers, norm, relu_clip, norm_first=norm_first)
        self.num_outputs = num_inputs


class ConvStack2d(ConvStack):
    """Convolutions over bins and time.

    A row of `convs` is (channels, kernel bins, kernel frames, stride bins, stride frames). A row of
    `paddings` is (bins, frames); the default is half of each kernel.

    Raises:
        ValueError: `num_bins` is too small for the kernels.
    """

    def __init__(
        self,
        num_bins: int,
        convs: tuple[tuple[int, ...], ...],
        norm: Norm,
        relu_clip: float,
        *,
        paddings: tuple[tuple[int, ...], ...] | None = None,
        norm_first: bool = True,
    ) -> None:
        if paddings is None:
            paddings = tuple((row[1] // 2, row[2] // 2) for row in convs)
        layers, num_maps, bins_left = [], 1, num_bins
        for (channels, *sizes), (pad_bins, pad_frames) in zip(convs, paddings, strict=True):
            kernel, stride = (sizes[0], sizes[1]), (sizes[2], sizes[3])
            layers.append(MaskedConv2d(num_maps, channels, kernel, stride, (pad_bins, pad_frames)))
            num_maps = channels
            bins_left = (bins_left + 2 * pad_bins - kernel[0]) // stride[0] + 1
            if bins_left < 1:
                raise ValueError(
                    f"num_bins must be large enough for the convolutions, got {num_bins}; "
                    "raise it, or choose smaller kernels or strides in bins"
                )
        super().__init__(layers, norm, relu_clip, norm_first=norm_first)
        self.num_outputs = num_maps * bins_left

    def forward(self, x: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y [B, U, num_outputs], out_lens_B) for x [B, T, F]; y is channel by channel."""
        y_BUFC, out_lens_B = super().forward(x[..., None], lens_B)
        return y_BUFC.transpose(2, 3).flatten(2), out_lens_B

    def stages(self) -> list[Stage]:
        """The convolutions of an utterance [1, T, F] in chunks."""
        into = Frames(lambda x_BTF: x_BTF[..., None])
        return [into, *super().stages(), Frames(lambda y: y.transpose(2, 3).flatten(2))]


def _cell(name: Cell, num_inputs: int, width: int, *, bias: bool) -> nn.RNNBase | ComposedCell:
    if name in COMPOSED:
        if not bias:
            raise ValueError(f"bias must be True for the cell {name}, got False")
        return COMPOSED[name](num_inputs, width)
    return CELLS[cast(TorchCell, name)](num_inputs, width, bias=bias, batch_first=True)


class RecurrentLayer(nn.Module):
    """One recurrent layer, [B, T, C] to [B, T, num_outputs], with one cell per direction.

    The backward cell runs on input reversed by length, so it starts at the last frame of each
    utterance, not in the padding.
    """

    def __init__(
        self, cell: Cell, num_inputs: int, width: int, directions: Directions, *, bias: bool = True
    ) -> None:
        super().__init__()
        make = partial(_cell, cell, num_inputs, width, bias=bias)
        self.cell, self.bias = cell, bias
        self.forward_cell = make()
        self.backward_cell = None if directions == "forward" else make()
        self.directions = directions
        self.num_outputs = 2 * width if directions == "concat" else width

    def forward(self, x_BTC: Tensor, lens_B: Tensor) -> Tensor:
        """Run each direction, and combine their outputs."""
        cells = self.torch_cells()
        if cells and triton_recurrence.computes(x_BTC, self.forward_cell.hidden_size):
            states_BTDH = recur_directions(cells, x_BTC, lens_B)
            is_sum = self.directions == "sum"
            return states_BTDH.sum(dim=2) if is_sum else states_BTDH.flatten(2)
        forward_BTH = recur(self.forward_cell, x_BTC, lens_B)
        if self.backward_cell is None:
            return forward_BTH
        backward_BTH = recur(self.backward_cell, reverse_by_length(x_BTC, lens_B), lens_B)
        return self._combined(forward_BTH, reverse_by_length(backward_BTH, lens_B))

    def torch_cells(self) -> list[nn.RNNBase]:
        """The cells of all directions if torch has such a cell, else none."""
        both = (self.forward_cell, self.backward_cell)
        return [cell for cell in both if isinstance(cell, nn.RNNBase)]

    def over_windows(
        self, x_BKWC: Tensor, lens_BK: Tensor, chunk: int, state: State | None
    ) -> tuple[Tensor, State]:
        """Run each direction over windows of `chunk` frames and the context after them.

        The forward direction goes from chunk to chunk, beginning with `state`, and from the end of
        each on into its context; the backward one begins anew at the end of each window. Returns
        [B, K, W, num_outputs] and the forward state after the last chunk.
        """
        assert self.backward_cell is not None
        #     window k     [ chunk k ......... | context ]
        #     forward      state k-1 -> state k -> context     state k goes on to window k + 1
        #     backward     <---------------------- from zero
        chunks, states = [], []
        for x_BTC in x_BKWC[:, :, :chunk].unbind(dim=1):
            y_BTH, state = recur_from(self.forward_cell, x_BTC, state)
            chunks.append(y_BTH)
            states.append(state)
        forward_BKWH = torch.stack(chunks, dim=1)
        # The contexts of all windows (N = B K) in one batch, each from the state at its chunk's
        # end.
        if x_BKWC.shape[2] > chunk:
            ends = tuple(
                torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*states, strict=True)
            )
            context_NTC = x_BKWC[:, :, chunk:].flatten(0, 1)
            y_NTH, _ = recur_from(self.forward_cell, context_NTC, ends)
            y_BKTH = y_NTH.view(*lens_BK.shape, -1, self.forward_cell.hidden_size)
            forward_BKWH = torch.cat((forward_BKWH, y_BKTH), dim=2)
        x_NWC, lens_N = x_BKWC.flatten(0, 1), lens_BK.flatten()
        # Reversed by length, so that padding is read last and changes nothing that counts.
        backward_NWH = recur(self.backward_cell, reverse_by_length(x_NWC, lens_N))
        backward_BKWH = reverse_by_length(backward_NWH, lens_N).view_as(forward_BKWH)
        return self._combined(forward_BKWH, backward_BKWH), states[-1]

    def _combined(self, forward: Tensor, backward: Tensor) -> Tensor:
        if self.directions == "concat":
            return torch.cat((forward, backward), dim=-1)
        return forward + backward


class LookAhead(nn.Module):
    """Row convolution: each channel reads its own next `num_frames` frames, zeros past the end.

    Section 3.7 of Deep Speech 2, https://arxiv.org/abs/1512.02595.
    """

    def __init__(self, width: int, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.conv = nn.Conv1d(width, width, num_frames + 1, groups=width, bias=False)

    def forward(self, x_BTH: Tensor, lens_B: Tensor) -> Tensor:
        """[B, T, H] to [B, T, H]."""
        x_BHT = F.pad(zero_padding(x_BTH, lens_B).transpose(1, 2), (0, self.num_frames))
        return self._convolved(x_BHT)

    def _convolved(self, x_BHT: Tensor) -> Tensor:
        y_BHT: Tensor = self.conv(x_BHT)
        return y_BHT.transpose(1, 2)

    def stage(self) -> Stage:
        """The row convolution of an utterance in chunks."""
        return Windows(
            lambda x_BTH: self._convolved(x_BTH.transpose(1, 2)),
            size=self.num_frames + 1,
            left=0,
            right=self.num_frames,
        )
