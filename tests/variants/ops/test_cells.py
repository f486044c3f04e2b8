"""Cells that torch does not have against loops over the published equations in double precision."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from variants.cost import num_parameters
from variants.deepspeech import DeepSpeech, DeepSpeechConfig
from variants.layers import RecurrentLayer
from variants.ops import kernel, paths
from variants.ops.cells import BY_FRAME, COMPOSED, SCAN, ComposedCell, LightGRU, MinLSTM, State
from variants.ops.linear_recurrence import BLOCK, linear_recurrence
from variants.ops.recurrence import recur, recur_from

Weights = dict[str, Tensor]
Frame = Callable[[Weights, Tensor, State], tuple[Tensor, State]]
"""The published equations for one frame of one row: (weights, x [C], state) to (h [H], state)."""


def sigma(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def positive(x: Tensor) -> Tensor:
    return torch.stack([e + 0.5 if e >= 0 else sigma(e) for e in x])


def mingru(w: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
    z, n = (w["inputs.weight"] @ x + w["inputs.bias"]).chunk(2)
    h = (1 - sigma(z)) * state[0] + sigma(z) * positive(n)
    return h, (h,)


def minlstm(w: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
    f, i, n = (w["inputs.weight"] @ x + w["inputs.bias"]).chunk(3)
    f, i = sigma(f), sigma(i)
    h = f / (f + i) * state[0] + i / (f + i) * positive(n)
    return h, (h,)


def qrnn(w: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
    c, before = state
    earlier, now = w["inputs.weight"].chunk(2, dim=1)
    z, f, o = (earlier @ before + now @ x + w["inputs.bias"]).chunk(3)
    c = sigma(f) * c + (1 - sigma(f)) * torch.tanh(z)
    return sigma(o) * c, (c, x)


def sru(w: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
    (before,) = state
    f, r = (w["gates.weight"] @ x + w["gates.bias"]).chunk(2)
    f = sigma(f + w["peephole_forget_H"] * before)
    r = sigma(r + w["peephole_reset_H"] * before)
    c = f * before + (1 - f) * (w["new.weight"] @ x)
    skip = w["skip.weight"] @ x if "skip.weight" in w else x
    return r * c + (1 - r) * math.sqrt(3) * skip, (c,)


def ligru(w: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
    """With the statistics of an evaluation; `test_statistics_of_the_batch…` has those of training."""
    product = w["inputs.weight"] @ x - w["norm.running_mean"]
    product = product / torch.sqrt(w["norm.running_var"] + 1e-5) * w["norm.weight"] + w["norm.bias"]
    z, n = (product + w["weight_hh_GH"] @ state[0]).chunk(2)
    h = sigma(z) * state[0] + (1 - sigma(z)) * torch.where(n > 0, n, 0.0)
    return h, (h,)


REFERENCES: dict[str, Frame] = {
    "mingru": mingru, "minlstm": minlstm, "qrnn": qrnn, "sru": sru, "ligru": ligru,
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", COMPOSED)
BY = pytest.mark.parametrize("by", ["torch", "kernel"])
C, H = 5, 7


def computed(by: str) -> AbstractContextManager[None]:
    """Within the block what `by` says computes."""
    return kernel.unused() if by == "torch" else nullcontext()


def cell_of(name: str, num_inputs: int = C) -> ComposedCell:
    """In evaluation, where the batch normalisation of a light GRU is a function of each frame."""
    cell = COMPOSED[name](num_inputs, H).eval()
    for key, buffer in cell.named_buffers():
        buffer.copy_(torch.rand(buffer.shape) + (0.5 if key.endswith("var") else -0.5))
    return cell


def initial(name: str, num_rows: int, num_inputs: int = C) -> State:
    state = (torch.randn(num_rows, H),)
    return (*state, torch.randn(num_rows, num_inputs)) if name == "qrnn" else state


def by_loop(name: str, weights: Weights, x_BTC: Tensor, state: State) -> list[Tensor]:
    """Outputs [B, T, H] and final state."""
    rows = []
    for row, x_TC in enumerate(x_BTC):
        row_state, outputs = tuple(part[row] for part in state), []
        for x_C in x_TC:
            h_H, row_state = REFERENCES[name](weights, x_C, row_state)
            outputs.append(h_H)
        rows.append((torch.stack(outputs), *row_state))
    return [torch.stack(parts) for parts in zip(*rows, strict=True)]


def gradients(outputs: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    draws = [torch.randn(o.shape, generator=generator).to(o) for o in outputs]
    products = [(o * d).sum() for o, d in zip(outputs, draws, strict=True)]
    return list(torch.autograd.grad(torch.stack(products).sum(), inputs))


@EVERY
@pytest.mark.parametrize("num_inputs", [C, H])
@pytest.mark.parametrize("sizes", [(1,), (1, 16, 3), (33,)])
@BY
def test_outputs_states_and_gradients_are_those_of_the_equations(
    name: str, num_inputs: int, sizes: tuple[int, ...], by: str
) -> None:
    """From a given state, whole and in chunks; lengths below, at and above a block of the scan."""
    cell = cell_of(name, num_inputs)
    x_BTC = torch.randn(3, sum(sizes), num_inputs, requires_grad=True)
    first = tuple(part.requires_grad_() for part in initial(name, 3, num_inputs))
    parts, state = [], first
    with computed(by):
        for chunk in torch.split(x_BTC, list(sizes), dim=1):
            y, state = recur_from(cell, chunk, state)
            parts.append(y)
    ours = [torch.cat(parts, dim=1), *state]
    named = {key: weight.detach().double() for key, weight in cell.named_parameters()}
    wide = [t.detach().double() for t in (x_BTC, *first)]
    variables = [t.requires_grad_() for t in (*wide, *named.values())]
    fixed = {key: buffer.double() for key, buffer in cell.named_buffers()}
    theirs = by_loop(name, named | fixed, wide[0], tuple(wide[1:]))
    ours += gradients(ours, [x_BTC, *first, *cell.parameters()])
    theirs += gradients(theirs, variables)
    for mine, other in zip(ours, theirs, strict=True):
        largest = max(1.0, float(other.detach().abs().max()))
        torch.testing.assert_close(mine.double(), other, rtol=0, atol=3e-6 * largest)


@EVERY
def test_the_initial_state_is_zero(name: str) -> None:
    cell, x_BTC = cell_of(name), torch.randn(2, 4, C)
    zeros = tuple(torch.zeros_like(part) for part in initial(name, 2))
    assert torch.equal(recur(cell, x_BTC), recur_from(cell, x_BTC, zeros)[0])


@EVERY
@pytest.mark.parametrize("directions", ["forward", "sum", "concat"])
def test_directions_are_the_cell_on_each_utterance_and_its_reverse(
    name: str, directions: str
) -> None:
    layer = RecurrentLayer(name, C, H, directions).eval()  # type: ignore[arg-type]
    x_BTC, lens = torch.randn(3, 37, C), [37, 5, 16]
    for row, num_frames in enumerate(lens):
        x_BTC[row, num_frames:] = math.nan
    got = layer(x_BTC, torch.tensor(lens))
    for row, num_frames in enumerate(lens):
        alone = x_BTC[row : row + 1, :num_frames]
        parts = [layer.forward_cell(alone)[0]]
        if layer.backward_cell is not None:
            parts.append(layer.backward_cell(alone.flip(1))[0].flip(1))
        expected = sum(parts) if directions == "sum" else torch.cat(parts, dim=-1)
        torch.testing.assert_close(got[row : row + 1, :num_frames], expected)


@EVERY
def test_a_cell_without_bias_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"bias must be True for the cell {name}, got False"):
        RecurrentLayer(name, C, H, "forward", bias=False)  # type: ignore[arg-type]


@EVERY
def test_autocast_computes_products_in_bfloat16_and_keeps_the_state_in_float32(name: str) -> None:
    cell, x_BTC = cell_of(name), torch.randn(2, 50, C, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        reduced, state = recur_from(cell, x_BTC, None)
    assert reduced.dtype == torch.bfloat16
    assert state[0].dtype == torch.float32
    exact = recur(cell, x_BTC)
    torch.testing.assert_close(reduced.float(), exact, atol=0.05, rtol=0.05)
    variables = [x_BTC, *cell.parameters()]
    rough = torch.autograd.grad(reduced.float().sum(), variables)
    for grad, wanted in zip(rough, torch.autograd.grad(exact.sum(), variables), strict=True):
        assert grad.dtype == torch.float32
        if name == "ligru":  # the slope of a ReLU jumps where rounding moves its argument past 0
            assert (grad - wanted).norm() < 0.1 * wanted.norm()
            continue
        torch.testing.assert_close(grad, wanted, atol=0.05 * float(wanted.abs().max()), rtol=0.1)


@EVERY
def test_large_inputs_and_non_finite_ones(name: str) -> None:
    """Saturated gates give finite numbers and gradients; NaN stays in its row and after it."""
    cell = cell_of(name)
    for scale in (1e3, 1e10):
        x_BTC = (scale * torch.randn(2, 20, C)).requires_grad_()
        y_BTH = recur(cell, x_BTC)
        (grad_BTC,) = torch.autograd.grad(y_BTH.mean(), x_BTC)
        assert y_BTH.isfinite().all()
        assert grad_BTC.isfinite().all()
    x_BTC = torch.randn(2, 20, C)
    x_BTC[0, 3] = math.nan
    with torch.no_grad():
        broken_BT = recur(cell, x_BTC).isnan().any(-1)
    assert broken_BT.tolist() == [[False] * 3 + [True] * 17, [False] * 20]


def test_closed_gates_of_minlstm_share_by_their_logarithms() -> None:
    """f and i of e^-200 and e^-201, which float32 rounds to 0."""
    cell = MinLSTM(1, 1)
    with torch.no_grad():
        cell.inputs.weight.zero_()
        cell.inputs.bias.copy_(torch.tensor([-200.0, -201.0, 1.5]))
        y, _ = cell(torch.zeros(1, 1, 1), (torch.tensor([[1.0]]),))
    share = math.e / (math.e + 1)
    assert float(y) == pytest.approx(share * 1.0 + (1 - share) * 2.0, rel=1e-6)


@pytest.mark.parametrize("num_frames", [1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3])
def test_the_scan_is_the_loop(num_frames: int) -> None:
    """Decays of 0, 1 and below 0 too; gradients by torch's gradcheck."""
    decays, inputs = torch.randn(2, 2, num_frames, 3, dtype=torch.float64).unbind(0)
    decays[0, ::3], decays[1, ::4] = 0.0, 1.0
    first = torch.randn(2, 3, dtype=torch.float64)
    expected, h = [], first
    for frame in range(num_frames):
        h = decays[:, frame] * h + inputs[:, frame]
        expected.append(h)
    states = linear_recurrence(decays, inputs, first)
    torch.testing.assert_close(states, torch.stack(expected, dim=1), rtol=1e-12, atol=1e-12)
    given = tuple(t[:, :20].requires_grad_() for t in (decays, inputs))
    assert torch.autograd.gradcheck(linear_recurrence, (*given, first.requires_grad_()))


@BY
def test_long_utterances_round_like_the_loop(by: str) -> None:
    """After 5,000 frames, decays near 0 and near 1, error relative to the largest state."""
    for shift in (-8.0, 0.0, 8.0):
        decays = (torch.randn(1, 5000, 8) + shift).sigmoid()
        inputs, first = torch.randn(1, 5000, 8), torch.zeros(1, 8)
        exact = linear_recurrence(decays.double(), inputs.double(), first.double())
        with computed(by):
            error = (linear_recurrence(decays, inputs, first).double() - exact).abs().max()
        assert error < 2e-6 * exact.abs().max()


@BY
def test_rounding_does_not_depend_on_padding_nor_on_other_rows(by: str) -> None:
    decays, inputs, first = torch.rand(3, 40, 6), torch.randn(3, 40, 6), torch.randn(3, 6)
    with computed(by):
        states = linear_recurrence(decays, inputs, first)
        for end in (1, 15, 16, 17, 33):
            alone = linear_recurrence(decays[1:2, :end], inputs[1:2, :end], first[1:2])
            assert torch.equal(alone, states[1:2, :end])


@EVERY
def test_what_computed_is_noted(name: str) -> None:
    paths.forget()
    cell, x_BTC = cell_of(name), torch.randn(1, 3, C)
    recur(cell, x_BTC)
    by_torch = BY_FRAME if name in ("sru", "ligru") else SCAN
    assert paths.taken() == {"recurrence": kernel.description()}
    paths.forget()
    with kernel.unused():
        recur(cell, x_BTC)
    assert paths.taken() == {"recurrence": by_torch}
    paths.forget()


@pytest.mark.parametrize(
    "name, matrices, vectors",
    [
        ("mingru", 2 * C * H, 2 * H),
        ("minlstm", 3 * C * H, 3 * H),
        ("qrnn", 3 * 2 * C * H, 3 * H),
        ("sru", 4 * C * H, 2 * H + 2 * H),
        ("ligru", 2 * C * H + 2 * H * H, 2 * 2 * H),
    ],
)
def test_parameters_by_hand(name: str, matrices: int, vectors: int) -> None:
    assert num_parameters(cell_of(name)) == matrices + vectors


def test_a_simple_recurrent_unit_as_wide_as_its_input_has_no_projection() -> None:
    assert num_parameters(cell_of("sru", H)) == 3 * H * H + 4 * H


@EVERY
def test_no_gradient_is_kept_where_none_is_asked_for(name: str) -> None:
    with torch.inference_mode():
        assert not recur(cell_of(name), torch.randn(2, 5, C)).requires_grad


def test_the_config_names_every_cell() -> None:
    for name in COMPOSED:
        model = DeepSpeech(DeepSpeechConfig(cell=name, width=4), 8, 5)  # type: ignore[arg-type]
        assert isinstance(model.layers[0].forward_cell, COMPOSED[name])


@pytest.mark.parametrize("directions", ["forward", "sum"])
def test_statistics_of_the_batch_are_those_of_its_valid_frames(directions: str) -> None:
    """A light GRU in training against numpy: BN over the frames of all utterances, not the padding."""
    layer = RecurrentLayer("ligru", C, H, directions)  # type: ignore[arg-type]
    lens = [9, 4, 1]
    x_BTC = torch.randn(3, 9, C)
    for row, num_frames in enumerate(lens):
        x_BTC[row, num_frames:] = math.nan
    got = layer(x_BTC, torch.tensor(lens)).detach().numpy()
    rows = [x_BTC[row, :num_frames].double().numpy() for row, num_frames in enumerate(lens)]
    expected = [np.zeros((num_frames, H)) for num_frames in lens]
    for cell, step in ((layer.forward_cell, 1), (layer.backward_cell, -1)):
        if cell is None:
            continue
        w = {key: value.detach().double().numpy() for key, value in cell.named_parameters()}
        products = np.concatenate([row @ w["inputs.weight"].T for row in rows])
        mean, variance = products.mean(axis=0), products.var(axis=0)
        for row, out in zip(rows, expected, strict=True):
            h = np.zeros(H)
            for frame in range(len(row))[::step]:
                a = (row[frame] @ w["inputs.weight"].T - mean) / np.sqrt(variance + 1e-5)
                a = a * w["norm.weight"] + w["norm.bias"] + w["weight_hh_GH"] @ h
                z = 1 / (1 + np.exp(-a[:H]))
                h = z * h + (1 - z) * np.maximum(a[H:], 0)
                out[frame] += h
        kept = 0.1 * mean
        np.testing.assert_allclose(cell.norm.running_mean.numpy(), kept, rtol=1e-4, atol=1e-6)
    for row, out in enumerate(expected):
        np.testing.assert_allclose(got[row, : len(out)], out, rtol=1e-4, atol=1e-5)


def test_recurrent_weights_of_a_light_gru_begin_orthogonal() -> None:
    for gate in LightGRU(C, H).weight_hh_GH.detach().chunk(2):
        torch.testing.assert_close(gate @ gate.T, torch.eye(H), atol=1e-5, rtol=0)


def test_a_light_gru_reads_no_chunks_backward() -> None:
    with pytest.raises(
        ValueError, match="backward_chunk_frames must be 0 for the cell ligru, got 8"
    ):
        DeepSpeechConfig(cell="ligru", directions="sum", backward_chunk_frames=8)
