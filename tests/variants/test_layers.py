"""The shared layers against torch's on unpadded utterances, and by hand."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from variants.layers import (
    ConvStack1d,
    ConvStack2d,
    LookAhead,
    MaskedConv1d,
    RecurrentLayer,
    conv_lengths,
    stack_context,
)
from variants.ops.padding import frame_mask, reverse_by_length, zero_padding

LENS = torch.tensor([9, 4, 7])


def padded(*shape: int, seed: int = 0) -> Tensor:
    """Random [3, 9, *shape] with large values in the padding after LENS."""
    x = torch.randn(3, 9, *shape, generator=torch.Generator().manual_seed(seed))
    x[~frame_mask(LENS, 9)] = 1e3
    return x


def test_mask_is_true_on_the_frames() -> None:
    assert frame_mask(torch.tensor([2, 0]), 3).tolist() == [[True, True, False], [False] * 3]


def test_zero_padding_removes_even_nan() -> None:
    x = torch.full((2, 3, 1), math.nan)
    x[0, :2] = 1.0
    assert zero_padding(x, torch.tensor([2, 0])).flatten().tolist() == [1, 1, 0, 0, 0, 0]


def test_reverse_turns_each_utterance_and_leaves_padding() -> None:
    x = torch.arange(1.0, 9.0).view(2, 4, 1)
    assert reverse_by_length(x, torch.tensor([3, 4])).squeeze(-1).tolist() == [
        [3, 2, 1, 4],
        [8, 7, 6, 5],
    ]


def test_stacked_context_is_in_order_of_time_with_zeros_beyond_the_ends() -> None:
    x = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [9.0, 90.0]]])
    stacked = stack_context(x, torch.tensor([2]), 1)
    assert stacked[0, :2].tolist() == [[0, 0, 1, 10, 2, 20], [1, 10, 2, 20, 0, 0]]


@pytest.mark.parametrize("kernel", [1, 3, 4, 11])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 5])
def test_conv_lengths_count_the_places_of_a_kernel(kernel: int, stride: int, padding: int) -> None:
    lens = torch.arange(40)
    places = [
        len(range(0, t + 2 * padding - kernel + 1, stride)) if t else 0 for t in lens.tolist()
    ]  # a row of length 0 is no utterance
    assert conv_lengths(lens, kernel, stride, padding).tolist() == places
    assert conv_lengths(lens, kernel, stride, padding).dtype == torch.int64


def test_conv_reads_zeros_past_the_end() -> None:
    conv, x = MaskedConv1d(2, 3, kernel=5, stride=2, padding=2, bias=True), padded(2)
    y, lens = conv(x, LENS)
    for row, (num_frames, num_out) in enumerate(zip(LENS, lens, strict=True)):
        alone = conv.conv(x[row : row + 1, :num_frames].transpose(1, 2)).transpose(1, 2)
        assert alone.shape[1] == num_out
        torch.testing.assert_close(y[row : row + 1, :num_out], alone)


@pytest.mark.parametrize("num_frames", [1, 2, 10])
def test_conv_of_less_than_a_kernel_gives_no_frames_and_no_error(num_frames: int) -> None:
    conv = MaskedConv1d(2, 3, kernel=11, stride=2, padding=0, bias=True)
    _, lens = conv(torch.randn(1, num_frames, 2), torch.tensor([num_frames]))
    assert lens.tolist() == [0]


def test_conv_stack_2d_is_torch_s_own_map_after_map() -> None:
    stack = ConvStack2d(
        20, ((3, 5, 3, 2, 2), (2, 3, 3, 2, 1)), "batch", 0.5, paddings=((0, 2), (1, 0))
    )
    reference = nn.Sequential(
        nn.Conv2d(1, 3, (5, 3), (2, 2), (0, 2)),
        nn.BatchNorm2d(3),
        nn.Hardtanh(0, 0.5),
        nn.Conv2d(3, 2, (3, 3), (2, 1), (1, 0)),
        nn.BatchNorm2d(2),
        nn.Hardtanh(0, 0.5),
    )
    with torch.no_grad():
        for index, (conv, norm) in enumerate(zip(stack.convs, stack.norms, strict=True)):
            reference[3 * index].load_state_dict(conv.conv.state_dict())
            assert norm.batch is not None
    x = torch.randn(2, 30, 20)
    expected_BCFU = reference(x.transpose(1, 2)[:, None])
    expected = expected_BCFU.flatten(1, 2).transpose(1, 2)
    y, lens = stack(x, torch.tensor([30, 30]))
    assert y.shape[2] == stack.num_outputs
    assert lens.tolist() == [expected.shape[1]] * 2 == stack.output_lengths(lens * 0 + 30).tolist()
    torch.testing.assert_close(y, expected)


def test_conv_stack_2d_refuses_too_few_bins() -> None:
    with pytest.raises(
        ValueError, match="num_bins must be large enough for the convolutions, got 4; raise it"
    ):
        ConvStack2d(4, ((3, 5, 3, 2, 2),), "batch", 20.0, paddings=((0, 2),))


def test_convolutions_have_a_bias_only_where_no_norm_has_one() -> None:
    for norm, bias in (("batch", False), ("layer", False), ("none", True)):
        names = [name for name, _ in ConvStack1d(4, ((3, 5, 2),), norm, 20.0).named_parameters()]
        assert ("convs.0.conv.bias" in names) is bias


@pytest.mark.parametrize("cell", ["rnn", "relu_rnn", "gru", "lstm"])
@pytest.mark.parametrize("bias", [True, False])
def test_directions_are_those_of_torch_s_packed_bidirectional_cell(cell: str, bias: bool) -> None:
    kind = {"gru": nn.GRU, "lstm": nn.LSTM}.get(cell, nn.RNN)
    options = {"nonlinearity": "relu"} if cell == "relu_rnn" else {}
    both = kind(4, 6, batch_first=True, bidirectional=True, bias=bias, **options)
    ours = {d: RecurrentLayer(cell, 4, 6, d, bias=bias) for d in ("forward", "sum", "concat")}
    with torch.no_grad():
        for layer in ours.values():
            for name, weight in layer.named_parameters():
                side, leaf = name.split(".")
                weight.copy_(getattr(both, leaf + "_reverse" * (side == "backward_cell")))
    x = padded(4)
    packed = pack_padded_sequence(x, LENS, batch_first=True, enforce_sorted=False)
    expected = pad_packed_sequence(both(packed)[0], batch_first=True)[0]
    mask = frame_mask(LENS, 9)
    ahead, back = expected[mask].chunk(2, dim=-1)
    for directions, value in (
        ("forward", ahead),
        ("sum", ahead + back),
        ("concat", expected[mask]),
    ):
        got = ours[directions](x, LENS)
        assert got.shape[-1] == ours[directions].num_outputs
        torch.testing.assert_close(got[mask], value)


def test_look_ahead_weighs_each_channel_s_own_future() -> None:
    layer = LookAhead(2, 2)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.tensor([[[1.0, 10.0, 100.0]], [[1.0, 0.0, -1.0]]]))
    x = torch.tensor([[[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [99.0, 99.0]]])
    y = layer(x, torch.tensor([3]))
    assert y.shape == x.shape
    assert y[0, :3].tolist() == [[321, -2], [32, 6], [3, 7]]
