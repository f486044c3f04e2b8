"""Layers that the families share; padding never reaches the frames that count.

Legend: B batch, T frames, F feature bins, C channels, H width, U output frames; ``lens_B`` int64.
An utterance lies at the start of its row, padding after it. Batches are padded and masked, never
packed (packing is 5 to 31 times slower on a CPU). Forward recurrences may run on into the padding,
for it comes last; convolutions, backward recurrences and batch statistics may not see it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.ops.convolution import convolve
from variants.ops.normalization import Norm, Normalization
from variants.ops.padding import frame_mask, reverse_by_length, zero_padding
from variants.ops.recurrence import recur

Cell = Literal["rnn", "gru", "lstm", "relu_rnn"]
Directions = Literal["forward", "sum", "concat"]
"""One direction, or two whose outputs are added or laid side by side."""

CELLS: Mapping[Cell, Callable[..., nn.RNNBase]] = {
    "rnn": nn.RNN,
    "relu_rnn": partial(nn.RNN, nonlinearity="relu"),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}


def conv_lengths(lens_B: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """floor((T + 2 padding - kernel) / stride) + 1, and 0 where the kernel finds no place."""
    return ((lens_B + 2 * padding - kernel) // stride + 1).clamp(min=0)


def stack_context(x_BTF: Tensor, lens_B: Tensor, context: int) -> Tensor:
    """Each frame with `context` frames on either side, oldest first: [B, T, (2 context + 1) F].

    Beyond both ends of the utterance there are zeros.
    """
    padded = F.pad(zero_padding(x_BTF, lens_B), (0, 0, context, context))
    return padded.unfold(1, 2 * context + 1, 1).transpose(2, 3).flatten(2)


class MaskedConv1d(nn.Module):
    """Convolution over time: (x [B, T, C], lens_B) to (y [B, U, C'], out_lens_B)."""

    def __init__(
        self, num_inputs: int, channels: int, kernel: int, stride: int, padding: int, bias: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(num_inputs, channels, kernel, stride, padding, bias=bias)
        self.channels, self.kernel = channels, kernel
        self.stride, self.padding = stride, padding

    def output_lengths(self, lens_B: Tensor) -> Tensor:
        """Frames out for frames in."""
        return conv_lengths(lens_B, self.kernel, self.stride, self.padding)

    def forward(self, x_BTC: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve, with zeros in the padding."""
        x_BTC = _at_least(zero_padding(x_BTC, lens_B), self.kernel - 2 * self.padding)
        return convolve(self.conv, x_BTC), self.output_lengths(lens_B)


class MaskedConv2d(nn.Module):
    """Convolution over bins and time: (x [B, T, F, C], lens_B) to (y [B, U, F', C'], out_lens_B).

    `kernel`, `stride` and `padding` are (bins, frames).
    """

    def __init__(
        self,
        num_inputs: int,
        channels: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        bias: bool,
    ) -> None:
        super().__init__()
        self.conv = _FramesFirst(num_inputs, channels, kernel, stride, padding, bias=bias)
        self.channels, self.kernel = channels, kernel
        self.stride, self.padding = stride, padding

    def output_lengths(self, lens_B: Tensor) -> Tensor:
        """Frames out for frames in."""
        return conv_lengths(lens_B, self.kernel[1], self.stride[1], self.padding[1])

    def forward(self, x_BTFC: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve, with zeros in the padding."""
        mask_BT = frame_mask(lens_B, x_BTFC.shape[1])
        x_BTFC = x_BTFC.masked_fill(~mask_BT[..., None, None], 0.0)
        x_BTFC = _at_least(x_BTFC, self.kernel[1] - 2 * self.padding[1])
        y_BCUF = self.conv(x_BTFC.permute(0, 3, 1, 2))
        return y_BCUF.permute(0, 2, 3, 1), self.output_lengths(lens_B)


class _FramesFirst(nn.Conv2d):
    """Weights over (bins, frames), as published; input and output [B, C, frames, bins].

    So the maps of a position may stay side by side in memory (torch's "channels last"), as layers
    hand them on; the other order would copy all of it several times.
    """

    def forward(self, x_BCTF: Tensor) -> Tensor:
        kernel, stride = self.weight.transpose(2, 3), self.stride[::-1]
        return F.conv2d(x_BCTF, kernel, self.bias, stride, cast(_Pair, self.padding)[::-1])


_Pair = tuple[int, int]


def _at_least(x_BTx: Tensor, num_frames: int) -> Tensor:
    """`x` with zeros up to `num_frames`: torch refuses a kernel longer than its input."""
    lacking = max(0, num_frames - x_BTx.shape[1])
    return F.pad(x_BTx, (*(0, 0) * (x_BTx.dim() - 2), 0, lacking)) if lacking else x_BTx


class ConvStack(nn.Module):
    """Convolutions, each normalised and clipped; `num_outputs` channels (times bins) a frame.

    `norm_first` is Deep Speech 2's order; Kur clips first, so what comes next has mean 0.
    """

    num_outputs: int

    def __init__(
        self,
        convs: Sequence[MaskedConv1d | MaskedConv2d],
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
        """Frames out for frames in."""
        for conv in self.convs:
            lens_B = cast(MaskedConv1d | MaskedConv2d, conv).output_lengths(lens_B)
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


class ConvStack1d(ConvStack):
    """Convolutions over time. A row of `convs` is (channels, kernel, stride) in frames.

    The padding is half the kernel.
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
            # A norm that comes at once has a bias of its own.
            padding, bias = kernel // 2, norm == "none" or not norm_first
            layers.append(MaskedConv1d(num_inputs, channels, kernel, stride, padding, bias))
            num_inputs = channels
        super().__init__(layers, norm, relu_clip, norm_first=norm_first)
        self.num_outputs = num_inputs


class ConvStack2d(ConvStack):
    """Convolutions over bins and time.

    A row of `convs` is (channels, kernel bins, kernel frames, stride bins, stride frames), one of
    `paddings` (bins, frames); by default half of each kernel.

    Raises:
        ValueError: the convolutions leave nothing of so few bins.
    """

    def __init__(
        self,
        num_bins: int,
        convs: tuple[tuple[int, ...], ...],
        norm: Norm,
        relu_clip: float,
        *,
        bias: bool,
        paddings: tuple[tuple[int, ...], ...] | None = None,
        norm_first: bool = True,
    ) -> None:
        if paddings is None:
            paddings = tuple((row[1] // 2, row[2] // 2) for row in convs)
        layers, num_maps, bins_left = [], 1, num_bins
        for (channels, *sizes), (pad_bins, pad_frames) in zip(convs, paddings, strict=True):
            kernel, stride = (sizes[0], sizes[1]), (sizes[2], sizes[3])
            layers.append(
                MaskedConv2d(num_maps, channels, kernel, stride, (pad_bins, pad_frames), bias)
            )
            num_maps = channels
            bins_left = (bins_left + 2 * pad_bins - kernel[0]) // stride[0] + 1
            if bins_left < 1:
                raise ValueError(
                    f"the convolutions leave nothing of num_bins = {num_bins}; take more bins"
                )
        super().__init__(layers, norm, relu_clip, norm_first=norm_first)
        self.num_outputs = num_maps * bins_left

    def forward(self, x: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y [B, U, num_outputs], out_lens_B) for x [B, T, F]; one map after another."""
        y_BUFC, out_lens_B = super().forward(x[..., None], lens_B)
        return y_BUFC.transpose(2, 3).flatten(2), out_lens_B


class RecurrentLayer(nn.Module):
    """One recurrent layer, [B, T, C] to [B, T, num_outputs]; each direction is a cell of its own.

    The backward one runs on a copy reversed by length, so it starts at the last frame of each
    utterance and not in the padding.
    """

    def __init__(
        self, cell: Cell, num_inputs: int, width: int, directions: Directions, *, bias: bool = True
    ) -> None:
        super().__init__()
        make = CELLS[cell]
        self.forward_cell = make(num_inputs, width, bias=bias, batch_first=True)
        self.backward_cell = None
        if directions != "forward":
            self.backward_cell = make(num_inputs, width, bias=bias, batch_first=True)
        self.joined = directions
        self.num_outputs = 2 * width if directions == "concat" else width

    def forward(self, x_BTC: Tensor, lens_B: Tensor) -> Tensor:
        """Run the directions and join them."""
        ahead_BTH = recur(self.forward_cell, x_BTC)
        if self.backward_cell is None:
            return ahead_BTH
        back_BTH = recur(self.backward_cell, reverse_by_length(x_BTC, lens_B))
        back_BTH = reverse_by_length(back_BTH, lens_B)
        if self.joined == "concat":
            return torch.cat((ahead_BTH, back_BTH), dim=-1)
        return ahead_BTH + back_BTH


class LookAhead(nn.Module):
    """Row convolution: each channel sees its own next `num_frames` frames, zeros past the end.

    Section 3.7 of Deep Speech 2, https://arxiv.org/abs/1512.02595.
    """

    def __init__(self, width: int, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.conv = nn.Conv1d(width, width, num_frames + 1, groups=width, bias=False)

    def forward(self, x_BTH: Tensor, lens_B: Tensor) -> Tensor:
        """[B, T, H] to [B, T, H]."""
        x_BHT = F.pad(zero_padding(x_BTH, lens_B).transpose(1, 2), (0, self.num_frames))
        y_BHT: Tensor = self.conv(x_BHT)
        return y_BHT.transpose(1, 2)
