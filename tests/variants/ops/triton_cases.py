"""Cases of the Triton kernels against float64 and kernel.c: on a GPU by test_triton.py, in Triton's interpreter
by ``TRITON_INTERPRET=1 python -m tests.variants.ops.triton_cases``, which prints one JSON line for each.

Legend: see variants.ops.triton_recurrence and triton_ctc.
"""

import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.training import ctc
from variants.deepspeech2 import ClippedRecurrence
from variants.layers import CELLS, RecurrentLayer
from variants.ops import triton_ctc
from variants.ops.recurrence import recur_directions

CPU = torch.device("cpu")
WIDTHS = (16, 32, 45)
FEW = {
    ("rnn", "sum", True, 16), ("rnn", "forward", False, 45), ("relu_rnn", "concat", True, 45),
    ("gru", "concat", True, 45), ("gru", "forward", False, 16), ("lstm", "sum", True, 45),
    ("lstm", "forward", False, 16),
}  # fmt: skip
"""What the default suite interprets; each cell, direction, bias and two widths at least once."""


@dataclass(frozen=True)
class Result:
    name: str
    errors: dict[str, float]
    """By tensor: the largest difference over the largest magnitude, at least 1."""
    cpu_seconds: float


def error(found: Tensor, expected: Tensor) -> float:
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    return (
        float((found.detach().cpu().double() - expected.detach().double()).abs().max()) / scale
        if expected.numel()
        else 0.0
    )


def recurrence(
    cell: str, directions: str, bias: bool, width: int, device: torch.device, lens: list[int]
) -> dict[str, float]:
    """Outputs and all gradients of a layer."""
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 5, width, directions, bias=bias)  # type: ignore[arg-type]
    exact = RecurrentLayer(cell, 5, width, directions, bias=bias).double()  # type: ignore[arg-type]
    exact.load_state_dict(layer.state_dict())
    lens_B = torch.tensor(lens)
    x_BTC = torch.randn(len(lens), max(lens) + 1, 5)
    inside = (torch.arange(x_BTC.shape[1]) < lens_B[:, None])[..., None]
    weights = torch.randn(len(lens), x_BTC.shape[1], layer.num_outputs) * inside
    found: list[list[Tensor]] = []
    for which, net in (("kernel", layer), ("float64", exact), ("triton", layer)):
        place = device if which == "triton" else CPU
        net = net.to(place)
        x = x_BTC.to(net.forward_cell.weight_ih_l0.dtype).to(place).requires_grad_()
        if which == "triton":
            cells = [net.forward_cell, *filter(None, [net.backward_cell])]
            y = recur_directions(cells, x, lens_B.to(place))
            assert not y[~inside[..., 0].to(place)].any(), "the padding is 0"
            y = y.sum(2) if directions == "sum" else y.flatten(2)
        else:
            y = net(x, lens_B)
        objective = (y * weights.to(place)).sum()
        variables = [x, *net.parameters()]
        grads = torch.autograd.grad(objective, variables)
        found.append([y * inside.to(place), *grads])
    names = ["states", "x", *(name for name, _ in layer.named_parameters())]
    kernel, wide, triton = found
    return {
        **{name: error(t, w) for name, t, w in zip(names, triton, wide, strict=True)},
        **{
            f"{name} of kernel.c": error(t, k)
            for name, t, k in zip(names, triton, kernel, strict=True)
        },
    }


def clipped(width: int, num_directions: int, device: torch.device) -> dict[str, float]:
    torch.manual_seed(1)
    layer = ClippedRecurrence(4, width, num_directions, 0.7).double()
    lens_B = torch.tensor([5, 0, 3])
    x = torch.randn(3, 6, width)
    inside = (torch.arange(6) < lens_B[:, None])[..., None]
    weights = torch.randn(x.shape) * inside
    wide = x.double().requires_grad_()
    inputs = [wide] if num_directions == 1 else [wide, wide]
    outs = []
    for d, one in enumerate(inputs):  # frame by frame, in the order of each direction
        rows = []
        for row, length in enumerate(lens_B.tolist()):
            state, states = torch.zeros(width).double(), [torch.zeros(width).double()] * 6
            for t in range(length) if d == 0 else reversed(range(length)):
                state = (one[row, t] + state @ layer.hidden_DHH[d]).clamp(0.0, 0.7)
                states[t] = state
            rows.append(torch.stack(states))
        outs.append(torch.stack(rows))
    expected = sum(outs[1:], outs[0])
    wide_grads = torch.autograd.grad((expected * weights).sum(), [wide, layer.hidden_DHH])
    layer = layer.float().to(device)
    here = x.to(device).requires_grad_()
    found = layer.by_triton(here, lens_B.to(device))
    grads = torch.autograd.grad((found * weights.to(device)).sum(), [here, layer.hidden_DHH])
    pairs = zip(("states", "x", "hidden"), [found, *grads], [expected, *wide_grads], strict=True)
    return {
        name: error(f * (inside.to(device) if name == "states" else 1), e) for name, f, e in pairs
    }


CTC_CASES: dict[str, tuple[int, list[int], list[list[int]]]] = {
    "repeats": (9, [9, 7], [[3, 3, 3], [4, 5, 5]]),
    "empty texts": (5, [5, 3], [[], []]),
    "infeasible rows": (4, [4, 2, 1], [[3, 4], [3, 3], [3, 4, 5]]),
    "one frame": (1, [1, 1, 1], [[3], [], [3, 4]]),
    "rows of length 0": (4, [4, 0, 0], [[3], [], [7]]),
    "many labels": (12, [12, 12], [[3, 4, 5, 6, 3, 3], [28, 1]]),
    "pieces": (6, [6, 4], [[3, 70, 70, 200], [64, 63]]),
}  # fmt: skip


def ctc_case(name: str, device: torch.device) -> dict[str, float]:
    num_frames, lens, texts = CTC_CASES[name]
    rng = torch.Generator().manual_seed(len(name))
    num_symbols = 201 if name == "pieces" else 29
    scores = torch.randn(len(lens), num_frames, num_symbols, generator=rng)
    log_probs = (2 * scores).log_softmax(-1)
    lens_B, target_lens = torch.tensor(lens), torch.tensor([len(text) for text in texts])
    targets = torch.zeros(len(lens), max(map(len, texts)), dtype=torch.int64)
    for row, text in enumerate(texts):
        targets[row, : len(text)] = torch.tensor(text)
    for row, length in enumerate(lens):
        log_probs[row, length:] = float("nan")  # what the padding holds is never read
    here = log_probs.to(device).requires_grad_()
    given = [tensor.to(device) for tensor in (lens_B, targets, target_lens)]
    found = ctc.by_triton(here, *given)
    weights = torch.arange(1.0, len(lens) + 1)
    again = triton_ctc.launch(here.detach(), *given, blank=0, with_gradient=True)
    is_finite = found.isfinite().cpu()
    (grad,) = torch.autograd.grad(found.cpu()[is_finite] @ weights[is_finite], here)
    theirs = log_probs.clone().requires_grad_()
    c_losses = ctc.by_kernel(theirs, lens_B, targets, target_lens)
    (c_grad,) = torch.autograd.grad(c_losses[is_finite] @ weights[is_finite], theirs)
    assert torch.equal(c_losses.isfinite(), is_finite)
    wide = log_probs.nan_to_num().double().requires_grad_()
    exact = F.ctc_loss(wide.transpose(0, 1), targets, lens_B, target_lens, reduction="none")
    real = is_finite & (lens_B > 0)
    (wide_grad,) = torch.autograd.grad(exact[real] @ weights[real].double(), wide)
    inside = (torch.arange(num_frames) < lens_B[:, None]) & real[:, None]
    # torch's gradient is that of what goes into a softmax.
    exact_grad = wide_grad - wide.detach().exp() * (weights[:, None] * inside)[..., None]
    return {
        "loss": error(found.cpu()[real], exact[real]),
        "infinite": float((found.cpu()[~is_finite] != float("inf")).sum()),
        "empty rows": float(found.cpu()[is_finite & ~real].abs().sum()),
        "gradient": error(grad.cpu()[real], exact_grad[real]),
        "no gradient": float(grad.cpu()[~real].abs().sum()),
        "loss of kernel.c": error(found.cpu()[is_finite], c_losses[is_finite]),
        "gradient of kernel.c": error(grad, c_grad),
        "again": float(not torch.equal(again[0], found.detach())),
    }


def results(device: torch.device, *, every: bool) -> Iterator[Result]:
    """`every`: all cells, directions, biases and widths; else FEW of them."""

    def timed(name: str, function: object, *arguments: object) -> Result:
        begun = time.process_time()
        assert callable(function)
        return Result(name, function(*arguments), time.process_time() - begun)

    for name in CTC_CASES:
        yield timed(f"ctc, {name}", ctc_case, name, device)
    for case in itertools.product(CELLS, ("forward", "sum", "concat"), (True, False), WIDTHS):
        if every or case in FEW:
            yield timed(f"recurrence, {case}", recurrence, *case, device, [3, 0, 1])
    for width, num_directions in itertools.product(WIDTHS if every else (16,), (1, 2)):
        yield timed(f"clipped, {width}, {num_directions}", clipped, width, num_directions, device)
    if every:
        yield timed("two programs", recurrence, "gru", "concat", True, 16, device, [2] * 17)
        yield timed("several tiles", recurrence, "lstm", "sum", True, 70, device, [3, 2])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for result in results(CPU, every="--every" in sys.argv):
        print(json.dumps(asdict(result)), flush=True)
