"""The parts of the survey of a GPU, in the order in which they decide what to do next.

Legend: B rows, T frames, D directions, G gates, H units, U output frames, V symbols, S labels.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice, product

import torch
from torch import Tensor

from bench.core import gpus, mps
from bench.costs.concurrency import wait_for_others, workers_at_once
from bench.costs.survey import Part, Rows, Setting
from bench.costs.synthetic import NUM_BATCHES, Steps
from bench.costs.timings import NUM_REPETITIONS, least_seconds
from bench.data.units import LETTERS
from bench.training.capture import CapturedSteps, captured_steps
from bench.training.ctc import by_triton, ctc_losses
from bench.training.device import autocast, peak_memory_bytes
from bench.training.step import train_step
from variants.layers import CELLS, RecurrentLayer
from variants.ops import triton_runtime
from variants.ops.recurrence import recur_directions

WIDTHS = (128, 160, 192, 256, 320, 384, 1000)


def numerics(setting: Setting) -> Rows:
    """Every cell at real widths: its largest difference from float64."""
    device = torch.device(setting.device)
    rows, frames = (2, 3) if setting.is_dry else (20, 50)
    for cell, width in product(CELLS, (16,) if setting.is_dry else WIDTHS):
        torch.manual_seed(0)
        layer = RecurrentLayer(cell, 40, width, "concat")
        exact = RecurrentLayer(cell, 40, width, "concat").double()
        exact.load_state_dict(layer.state_dict())
        x_BTC = torch.randn(rows, frames, 40)
        lens_B = torch.arange(frames, frames - rows, -1).clamp(min=1)
        # Rows of different lengths; what a kernel leaves in the padding is not compared.
        inside = (torch.arange(frames) < lens_B[:, None])[..., None]
        expected = exact(x_BTC.double(), lens_B) * inside
        layer = layer.to(device)
        here, lens = x_BTC.to(device), lens_B.to(device)
        with triton_runtime.unused():
            values = {"cuDNN or kernel.c": _difference(layer(here, lens), expected, inside)}
        if triton_runtime.version():
            found = recur_directions(layer.torch_cells(), here, lens)
            values["Triton"] = _difference(found.flatten(2), expected, inside)
        yield f"{cell} {width}", values


def _difference(found: Tensor, expected: Tensor, inside: Tensor) -> float:
    return float((found.detach().cpu().double() * inside - expected.detach()).abs().max())


def shapes(setting: Setting) -> Rows:
    """Steps of one shape against steps of ever new ones: host ms by phase, and ms in all."""
    steps = Steps.of(setting, variant_index=0, seconds=2.6, batch_seconds=200.0)
    count = 2 if setting.is_dry else 20
    steps.losses(train_step, 1)  # what is built once
    for name, jitter in (("fixed", 0), ("changing", 1)):
        spent = steps.timed(train_step, count, jitter=jitter)
        yield name, {f"{phase} ms": 1e3 * value / count for phase, value in spent.items()}
    if setting.device != "cuda":
        yield "launches, busy share", "the profiler counts launches on CUDA only"
        return
    launches, busy = steps.profiled(train_step)
    yield "launches, busy share", {"launches": launches, "busy %": 100 * busy}


def ctc(setting: Setting) -> Rows:
    """The loss and its gradient: torch's kernels and Triton's, ms."""
    device = torch.device(setting.device)
    num_symbols = LETTERS.num_symbols
    sizes = ((2, 4, 1),) if setting.is_dry else ((76, 87, 40), (15, 433, 200), (8, 87, 40))
    for num_rows, num_frames, num_labels in sizes:
        torch.manual_seed(0)
        log_probs = torch.randn(num_rows, num_frames, num_symbols, device=device).log_softmax(-1)
        log_probs.requires_grad_()
        lens = torch.full((num_rows,), num_frames, device=device)
        target_lens = torch.full((num_rows,), num_labels, device=device)
        targets = torch.randint(1, num_symbols, (num_rows, num_labels), device=device)
        given = (log_probs, lens, targets, target_lens)
        with triton_runtime.unused():
            others = partial(_run_loss, ctc_losses, *given)
            values = {"torch or kernel.c ms": 1e3 * _least_seconds(others, device)}
        if triton_runtime.version():
            ours = partial(_run_loss, by_triton, *given)
            values["Triton ms"] = 1e3 * _least_seconds(ours, device)
        yield f"{num_rows} rows of {num_frames} frames", values


def recurrence(setting: Setting) -> Rows:
    """Forward and backward, both directions: µs a frame, cuDNN's kernels and Triton's."""
    device = torch.device(setting.device)
    rows, frames = (2, 2) if setting.is_dry else (16, 433)
    precision = torch.float32 if setting.is_dry else torch.bfloat16
    for cell, width in product(CELLS, (16,) if setting.is_dry else (128, 256, 512, 1000)):
        layer = RecurrentLayer(cell, width, width, "concat").to(device)
        x_BTC = torch.randn(rows, frames, width, device=device, requires_grad=True)
        lens_B = torch.full((rows,), frames, device=device)
        run = partial(_run_layer, layer, x_BTC, lens_B, precision)
        others, ours = (partial(run, by_triton=by_triton) for by_triton in (False, True))
        values = {"cuDNN or kernel.c µs": 1e6 * _least_seconds(others, device) / frames}
        if triton_runtime.version():
            values["Triton µs"] = 1e6 * _least_seconds(ours, device) / frames
        yield f"{cell} {width}", values


def _run_layer(
    layer: RecurrentLayer,
    x_BTC: Tensor,
    lens_B: Tensor,
    precision: torch.dtype,
    *,
    by_triton: bool,
) -> None:
    """Forward and backward."""
    cells = layer.torch_cells()
    with autocast(x_BTC.device, precision), triton_runtime.unused():
        y = recur_directions(cells, x_BTC, lens_B) if by_triton else layer(x_BTC, lens_B)
    _backward(y)


def _run_loss(loss: Callable[..., Tensor], *given: Tensor) -> None:
    _backward(loss(*given))


def _backward(y: Tensor) -> None:
    torch.autograd.backward(y.float().sum())


def capture(setting: Setting) -> Rows:
    """Captured against eager steps, both with Triton's kernels: ms, seconds of the first two steps
    (which compile and capture), memory, and the largest difference of losses."""
    _take_triton()
    device, count = torch.device(setting.device), 2 if setting.is_dry else 50
    captured = _captured(setting)
    losses = []
    for name, step in (("eager", train_step), ("captured", captured)):
        steps = Steps.of(setting, variant_index=0, seconds=2.6, batch_seconds=20.0)
        values = {"first two s": steps.seconds(step, 2)}
        values["ms"] = 1e3 * steps.seconds(step, count) / count
        losses.append(steps.losses(step, count))
        yield name, values | {"memory MB": peak_memory_bytes(device) / 1e6}
    if captured.failure:
        yield "captured", f"steps ran eagerly: {captured.failure}"
        return
    yield "difference", {"largest": max(abs(a - b) for a, b in zip(*losses, strict=True))}


def _take_triton() -> None:
    """In this part's process Triton's kernels compute, without which no step is captured."""
    os.environ[triton_runtime.VARIABLE] = "1"


def _captured(setting: Setting) -> CapturedSteps:
    return captured_steps() if setting.device == "cuda" else CapturedSteps(RepeatedGraph)


class RepeatedGraph:
    """In place of a CUDA graph in a dry run: does the work again."""

    def capture(self, work: Callable[[], Tensor]) -> Tensor:
        """See bench.training.capture.Graph."""
        self._work, self._row = work, torch.zeros(3)
        return self._row

    def replay(self) -> None:
        """See bench.training.capture.Graph."""
        self._row.copy_(self._work())


def loop(setting: Setting) -> Rows:
    """Steps of several networks: audio seconds a second, without the features' way from disk, by
    torch's kernels, by Triton's, and by these captured."""
    _take_triton()
    count = 2 if setting.is_dry else 10
    # Each network once before any in another setting, since time may not suffice for all.
    cases = product((20.0, 200.0), (2.6, 13.0), range(1 if setting.is_dry else 6))
    for batch_seconds, seconds, index in islice(cases, 1 if setting.is_dry else None):
        captured = _captured(setting)
        steps = Steps.of(setting, variant_index=index, seconds=seconds, batch_seconds=batch_seconds)
        case = f"{steps.variant}, {batch_seconds:g} s of {seconds:g} s"
        with triton_runtime.unused():
            steps.losses(train_step, 2)
            values = {"torch s/s": steps.rate(train_step, count)}
        for name, step in (("Triton s/s", train_step), ("captured s/s", captured)):
            steps.losses(step, 2)
            values[name] = steps.rate(step, count)
        if captured.failure:
            del values["captured s/s"]
            yield case, f"not captured: {captured.failure}"
        yield case, values


def workers(setting: Setting) -> Rows:
    """Several processes on one device, taking turns and under MPS: audio seconds a second."""
    counts = (1, 2) if setting.is_dry else (1, 4, 8, 16)
    for is_shared, count in product((False, True), counts):
        name = f"{count} workers{' under MPS' if is_shared else ''}"
        if is_shared and setting.device != "cuda":
            yield name, "MPS shares GPUs only"
            continue
        sharing: AbstractContextManager[dict[str, str]] = nullcontext({})
        if is_shared:
            sharing = mps.sharing(gpus.choose(["0"]))
        with sharing as variables:
            if is_shared and not variables:
                yield name, f"{mps.CONTROL} could not be started"
                continue
            with workers_at_once(count, variables) as submit:
                futures = [submit(_work, setting) for _ in range(count)]
                yield name, {"audio s/s": sum(future.result() for future in futures)}


def precision(setting: Setting) -> Rows:
    """bfloat16 against float32: the loss after equal steps on the same batches, two seeds."""
    count = 3 if setting.is_dry else 100
    for seed, kind in product((0, 1), (torch.float32, torch.bfloat16)):
        steps = Steps.of(
            setting, variant_index=0, seconds=2.6, batch_seconds=20.0, seed=seed, precision=kind
        )
        name = str(kind).removeprefix("torch.")
        yield f"{name}, seed {seed}", {"loss": steps.losses(train_step, count)[-1]}


PARTS = (
    Part(name="numerics", limit_seconds=90, measure=numerics),
    Part(name="shapes", limit_seconds=60, measure=shapes),
    Part(name="ctc", limit_seconds=40, measure=ctc),
    Part(name="recurrence", limit_seconds=90, measure=recurrence),
    Part(name="capture", limit_seconds=60, measure=capture),
    Part(name="loop", limit_seconds=90, measure=loop),
    Part(name="workers", limit_seconds=110, measure=workers),
    Part(name="precision", limit_seconds=50, measure=precision),
)
"""Together under ten minutes."""


def _work(setting: Setting) -> float:
    """Audio seconds a second of one of several workers, from the moment when all have begun."""
    torch.set_num_threads(1)
    steps = Steps.of(setting, variant_index=0, seconds=2.6, batch_seconds=20.0)
    steps.losses(train_step, 1 if setting.is_dry else NUM_BATCHES)
    wait_for_others()
    return steps.rate(train_step, 1 if setting.is_dry else 40)


def _least_seconds(work: Callable[[], None], device: torch.device) -> float:
    """On a CPU, where a dry run interprets the kernels, of a single call."""
    return least_seconds(work, device, NUM_REPETITIONS if device.type == "cuda" else 1)
