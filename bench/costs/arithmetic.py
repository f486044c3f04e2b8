"""How much arithmetic training takes, and how much of what the device can do it gets.

Legend: B batch, T frames, C inputs.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, product
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.training.device import autocast, default_precision, exact_float32
from variants import kernel
from variants.cost import macs_per_second
from variants.layers import RecurrentLayer
from variants.spec import AcousticModel

PEAK_SIZES = {"cpu": (1024, 1536, 2048), "cuda": (4096, 8192)}
"""Square matrices whose products show what the device can do."""

REPETITIONS = 4
"""The fastest counts."""


def synchronizer(device: torch.device) -> Callable[[], None]:
    """A function that waits until the device has done all that it was given."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Torch computes with so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def matmul_peak(device: torch.device) -> float:
    """FLOP per second of the fastest product of two square matrices, in the training precision.

    On a CPU torch's product or ours, whichever is faster.
    """
    products: list[Callable[[Tensor, Tensor], Tensor]] = [torch.matmul]
    if device.type == "cpu" and kernel.library():
        products.append(kernel.product)
    fastest = 0.0
    for size, multiply in product(PEAK_SIZES[device.type], products):
        left, right = torch.randn(2, size, size, device=device, dtype=default_precision(device))
        seconds = _least_seconds(partial(multiply, left, right), device)
        fastest = max(fastest, 2 * size**3 / seconds)
    return fastest


def training_macs_per_second(
    model: AcousticModel, num_bins: int, frames_per_second: float
) -> float:
    """Multiply-adds of forward and backward pass per further second of audio.

    Each product of the forward pass (see `variants.cost.macs_per_second`) calls for two in the
    backward pass, one for the gradient of its weights, one for that of its input; the layers that
    read the features spare the second. `model` may live on the meta device.
    """
    forward = macs_per_second(model, num_bins, frames_per_second)
    return 3 * forward - _macs_of_first_layers(model, num_bins) * frames_per_second


def _macs_of_first_layers(model: AcousticModel, num_bins: int) -> float:
    """Multiply-adds per further frame of the layers whose input takes no gradient."""
    many = 10**6
    stride = round(many / int(model.output_lengths(torch.tensor(many))))
    enough = next(n for n in range(stride, many, stride) if model.output_lengths(torch.tensor(n)))
    totals = []
    for num_frames in (enough, enough + stride):
        counted: list[int] = []

        def count(
            module: nn.Module, inputs: tuple[Any, ...], out: Any, into: list[int] = counted
        ) -> None:
            if inputs[0].requires_grad:
                return
            num_weights = sum(w.numel() for w in module.parameters(recurse=False) if w.dim() > 1)
            output: Tensor = out[0] if isinstance(out, tuple) else out
            channel_axis = 1 if isinstance(module, (nn.Conv1d, nn.Conv2d)) else -1
            into.append(num_weights * (output.numel() // output.shape[channel_axis]))

        _run_on_meta(model, num_frames, num_bins, count)
        totals.append(sum(counted))
    return (totals[1] - totals[0]) / stride


def _run_on_meta(
    model: AcousticModel, num_frames: int, num_bins: int, hook: Callable[..., None]
) -> None:
    """One forward pass on the meta device, `hook` called after each module that owns weights."""
    owners = [m for m in model.modules() if any(w.dim() > 1 for w in m.parameters(recurse=False))]
    handles = [owner.register_forward_hook(hook) for owner in owners]
    state = {
        name: tensor.to("meta")
        for name, tensor in chain(model.named_parameters(), model.named_buffers())
    }
    feats_BTF = torch.empty(1, num_frames, num_bins, device="meta")
    feat_lens_B = torch.empty(1, dtype=torch.int64, device="meta")
    try:
        functional_call(model, state, (feats_BTF, feat_lens_B))
    finally:
        for handle in handles:
            handle.remove()


def recurrent_flops_per_second(
    model: AcousticModel, num_rows: int, num_frames: int, device: torch.device
) -> float | None:
    """What the recurrent layers alone achieve, forward and backward, on batches of one shape.

    Args:
        model: on `device`.
        num_rows: utterances of a batch.
        num_frames: output frames of the network for the longest of them.
        device: where to compute.

    Returns:
        FLOP per second over all layers; None if the network has no RecurrentLayer.
    """
    layers = [module for module in model.modules() if isinstance(module, RecurrentLayer)]
    flops, seconds = 0.0, 0.0
    for layer in layers:
        num_weights = sum(w.numel() for w in layer.parameters() if w.dim() > 1)
        flops += 2 * 3 * num_weights * num_rows * num_frames
        seconds += _least_seconds(
            _forward_and_backward(layer, num_rows, num_frames, device), device
        )
    model.zero_grad()
    return flops / seconds if layers else None


def _forward_and_backward(
    layer: RecurrentLayer, num_rows: int, num_frames: int, device: torch.device
) -> Callable[[], None]:
    """One training step of `layer`, whose input takes a gradient, as within a network."""
    num_inputs = layer.forward_cell.input_size
    x_BTC = torch.randn(num_rows, num_frames, num_inputs, device=device, requires_grad=True)
    lens_B = torch.full((num_rows,), num_frames, device=device)
    grad_BTH = torch.randn(num_rows, num_frames, layer.num_outputs, device=device)

    @exact_float32()
    def step() -> None:
        layer.zero_grad()
        x_BTC.grad = None
        with autocast(device, default_precision(device)):
            out_BTH = layer(x_BTC, lens_B)
        out_BTH.backward(grad_BTH.to(out_BTH.dtype))

    return step


def _least_seconds(compute: Callable[[], object], device: torch.device) -> float:
    """Of several runs of `compute`, after one to warm up."""
    synchronize = synchronizer(device)
    fastest = float("inf")
    for repetition in range(REPETITIONS + 1):
        synchronize()
        begun = time.perf_counter()
        compute()
        synchronize()
        if repetition:
            fastest = min(fastest, time.perf_counter() - begun)
    return fastest
