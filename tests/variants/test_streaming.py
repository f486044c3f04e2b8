"""Networks in chunks of any size give the numbers of the whole utterance."""

import dataclasses
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.variants.test_contract import build, small, unsettle
from variants import VARIANTS
from variants.cost import macs_per_second
from variants.layers import CELLS, Cell
from variants.ops import kernel
from variants.ops.cells import COMPOSED
from variants.ops.recurrence import recur_from
from variants.spec import AcousticModel
from variants.streaming import BACKWARD_READS_THE_END, Windows

CHUNKED = dataclasses.replace(
    VARIANTS["ds-bigru"].config, backward_chunk_frames=4, backward_context_frames=3
)
SYSTEMS: dict[str, tuple[str, Any]] = {name: (name, spec.config) for name, spec in VARIANTS.items()}
for _cell in ("rnn", "gru", "lstm", *COMPOSED):
    if _cell != "ligru":  # whose normalisation has no statistics of chunks
        SYSTEMS[f"chunked-{_cell}"] = ("ds-bigru", dataclasses.replace(CHUNKED, cell=_cell))
SYSTEMS["chunked-concat-layer-norm"] = (
    "ds-bigru",
    dataclasses.replace(CHUNKED, directions="concat", norm="layer", lookahead_frames=2),
)
SYSTEMS["chunked-without-context"] = (
    "ds-bigru",
    dataclasses.replace(CHUNKED, backward_context_frames=0),
)
SYSTEMS["2-d"] = (
    "ds-gru",
    dataclasses.replace(
        VARIANTS["ds-gru"].config, convs=((8, 41, 11, 2, 2), (8, 21, 7, 2, 1)), dense_widths=(8,)
    ),
)
SYSTEMS["stride-wider-than-kernel"] = (
    "ds-gru",
    dataclasses.replace(VARIANTS["ds-gru"].config, convs=((8, 2, 5),)),
)
EVERY = pytest.mark.parametrize("name", SYSTEMS)
LENGTHS = (1, 2, 7, 30, 61, 100)


def model_of(name: str) -> tuple[AcousticModel, int]:
    variant, config = SYSTEMS[name]
    spec = VARIANTS[variant]
    return unsettle(build(spec, small(config))), spec.features["num_bins"]


def streamed(model: AcousticModel, feats_TF: Tensor, sizes: Iterator[int]) -> Tensor:
    stream, parts, at = model.stream(), [], 0
    while at < len(feats_TF):
        size = next(sizes)
        parts.append(stream.push(feats_TF[at : at + size], is_last=at + size >= len(feats_TF)))
        at += size
    return torch.cat(parts)


def constant(size: int) -> Iterator[int]:
    while True:
        yield size


def drawn() -> Iterator[int]:
    generator = torch.Generator().manual_seed(5)
    while True:
        yield int(torch.randint(0, 12, (), generator=generator))


@EVERY
@pytest.mark.parametrize("computed_by", ["kernel", "torch"])
def test_chunks_of_any_size_give_the_offline_numbers(name: str, computed_by: str) -> None:
    model, num_bins = model_of(name)
    if model.cannot_stream is not None:
        assert model.cannot_stream == BACKWARD_READS_THE_END
        with pytest.raises(ValueError, match="must be one that streams, but its backward"):
            model.stream()
        return
    context = kernel.unused() if computed_by == "torch" else nullcontext()
    with context, torch.inference_mode():
        for num_frames in LENGTHS:
            feats_TF = torch.randn(num_frames, num_bins)
            log_probs_BUV, (num_out,) = model(feats_TF[None], torch.tensor([num_frames]))
            offline = log_probs_BUV[0, :num_out]
            for sizes in (constant(1), constant(3), constant(10), constant(1000), drawn()):
                online = streamed(model, feats_TF, sizes)
                torch.testing.assert_close(online, offline, atol=1e-5, rtol=0)


def test_variants_that_stream_are_those_in_one_direction() -> None:
    for name, spec in VARIANTS.items():
        directions = getattr(spec.config, "directions", None)
        expected = directions == "forward" or name == "kur-speech"
        assert (build(spec).cannot_stream is None) == expected


@EVERY
def test_an_output_frame_waits_for_the_look_ahead_and_no_longer(name: str) -> None:
    model, num_bins = model_of(name)
    if model.cannot_stream is not None:
        return
    stream, feats_TF = model.stream(), torch.randn(200, num_bins)
    waits: list[int] = []
    for at in range(len(feats_TF)):
        num_new = len(stream.push(feats_TF[at : at + 1]))
        waits += [at - stream.stride * (len(waits) + new) for new in range(num_new)]
    # Frames of a chunk come together, so the last of them is computed before what it waits for.
    assert max(waits) == stream.look_ahead_frames
    whole_chunks = waits[: len(waits) // model.chunk_frames * model.chunk_frames]
    assert sum(whole_chunks) / len(whole_chunks) == pytest.approx(stream.mean_look_ahead_frames)


def test_a_stream_is_used_once() -> None:
    model, num_bins = model_of("ds-gru")
    stream = model.stream()
    assert stream.push(torch.zeros(0, num_bins)).shape == (0, 29)
    assert stream.push(torch.zeros(0, num_bins), is_last=True).shape == (0, 29)
    with pytest.raises(ValueError, match="push must not follow the last chunk"):
        stream.push(torch.zeros(1, num_bins))


def test_a_window_holds_no_more_than_it_needs() -> None:
    """The state of a long utterance stays as small as that of a short one."""
    windows = Windows(lambda x: x[:, 4::2], size=5, stride=2, left=2, right=2)
    for _ in range(1000):
        windows.push(torch.zeros(1, 7, 3), is_last=False)
    assert windows._kept is not None
    assert windows._kept.untyped_storage().nbytes() < 5 * 3 * 4


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("sizes", [(9,), (4, 5), (1, 1, 7)])
def test_recurrences_continue_from_a_state_with_its_gradients(
    name: Cell, sizes: tuple[int, ...]
) -> None:
    """Chunk after chunk, outputs and gradients of torch in double precision for the whole."""
    cell = CELLS[name](5, 7, batch_first=True)
    exact = CELLS[name](5, 7, batch_first=True).double()
    exact.load_state_dict(cell.state_dict())
    num_parts = 2 if name == "lstm" else 1
    x_BTC = torch.randn(3, 9, 5, requires_grad=True)
    first = tuple(torch.randn(3, 7, requires_grad=True) for _ in range(num_parts))

    parts, state = [], first
    for chunk in torch.split(x_BTC, sizes, dim=1):
        y, state = recur_from(cell, chunk, state)
        parts.append(y)
    ours = [torch.cat(parts, dim=1), *state]
    wide = [t.detach().double().requires_grad_() for t in (x_BTC, *first)]
    given = tuple(t[None] for t in wide[1:])
    y, final = exact(wide[0], given if num_parts == 2 else given[0])
    theirs = [y, *(t[0] for t in (final if num_parts == 2 else (final,)))]

    def gradients(outputs: list[Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(1)
        draws = [torch.randn(o.shape, generator=generator).to(o.dtype) for o in outputs]
        total = sum((o * d).sum() for o, d in zip(outputs, draws, strict=True))
        assert isinstance(total, Tensor)
        return torch.autograd.grad(total, inputs)

    ours += gradients(ours, [x_BTC, *first, *cell.parameters()])
    theirs += gradients(theirs, [*wide, *exact.parameters()])
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.double(), other, atol=1e-5, rtol=0)


def test_one_chunk_of_the_whole_utterance_is_two_directions() -> None:
    spec = VARIANTS["ds-bigru"]
    whole = small(spec.config)
    chunked = dataclasses.replace(whole, backward_chunk_frames=50)
    feats_BTF, lens_B = torch.randn(2, 90, 64), torch.tensor([90, 61])
    found = [unsettle(build(spec, config))(feats_BTF, lens_B)[0] for config in (whole, chunked)]
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1, :20], found[1][1, :20])


def test_latency_controlled_layers_train_and_ignore_padding() -> None:
    model, num_bins = model_of("chunked-lstm")
    feats_BTF, lens_B = torch.randn(2, 61, num_bins), torch.tensor([61, 23])
    alone, _ = model(feats_BTF[1:, :23], lens_B[1:])
    feats_BTF[1, 23:] = torch.nan
    log_probs_BUV, out_lens_B = model(feats_BTF, lens_B)
    torch.testing.assert_close(log_probs_BUV[1, : out_lens_B[1]], alone[0], atol=1e-5, rtol=1e-4)
    model.train()
    log_probs_BUV, _ = model(feats_BTF, lens_B)
    log_probs_BUV[0].square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


def test_the_context_of_chunks_costs_multiply_adds() -> None:
    def macs(**changes: int) -> float:
        config = dataclasses.replace(VARIANTS["ds-bigru"].config, **changes)
        with torch.device("meta"):
            model = build(VARIANTS["ds-bigru"], config)
        return macs_per_second(model, 64)

    whole = macs()
    assert macs(backward_chunk_frames=20) == pytest.approx(whole)
    recurrent = macs(backward_chunk_frames=20, backward_context_frames=20) - whole
    assert recurrent == pytest.approx(
        macs(backward_chunk_frames=10, backward_context_frames=10) - whole
    )
    assert 0.5 * whole < recurrent < whole
