"""Timings of single operations: the device's peak, the recurrent layers, recognition, features.

Legend: B batch, T frames, C inputs, H width, N samples.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from bench.costs.data import evenly_spaced
from bench.data.audio import read_utterance
from bench.data.batches import Dataset
from bench.data.store import build_store
from bench.data.utterance import Corpus
from bench.training.checkpoint import TrainedNetwork
from bench.training.config import RunConfig
from bench.training.device import autocast, default_precision, exact_float32
from bench.training.evaluate import transcribe
from variants.layers import RecurrentLayer
from variants.ops import kernel
from variants.spec import AcousticModel

PEAK_SIZES = {"cpu": (1024, 1536, 2048), "cuda": (4096, 8192)}
"""Sizes of the square matrices whose product measures the peak, by device type."""

NUM_REPETITIONS = 5
"""The fastest one counts; the first warms up."""

FLOOR_UNITS = 16
"""So narrow that the arithmetic of a frame takes no time beside its latency."""

MAX_RECOGNIZED = 12
"""Utterances recognised to measure the latency, at most."""


def synchronizer(device: torch.device) -> Callable[[], None]:
    """A function that waits until `device` has completed all queued work."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def matmul_peak(device: torch.device) -> float:
    """FLOP per second of the fastest product of two square matrices, in the training precision.

    On a CPU the faster of torch's product and the compiled kernel's.
    """
    products: list[Callable[[Tensor, Tensor], Tensor]] = [torch.matmul]
    if device.type == "cpu" and kernel.library():
        products.append(kernel.product)
    fastest = 0.0
    for size, multiply in product(PEAK_SIZES[device.type], products):
        left, right = torch.randn(2, size, size, device=device, dtype=default_precision(device))
        seconds = least_seconds(partial(multiply, left, right), device)
        fastest = max(fastest, 2 * size**3 / seconds)
    return fastest


def recurrent_flops_per_second(
    model: AcousticModel, num_rows: int, num_frames: int, device: torch.device
) -> float | None:
    """The rate of the recurrent layers alone, forward and backward, on batches of one shape.

    Args:
        model: on `device`.
        num_rows: utterances in the batch.
        num_frames: output frames of each utterance.
        device: where to compute.

    Returns:
        FLOP per second over all layers; None if the network has no RecurrentLayer.
    """
    layers = [module for module in model.modules() if isinstance(module, RecurrentLayer)]
    flops, seconds = 0.0, 0.0
    for layer in layers:
        num_weights = sum(w.numel() for w in layer.parameters() if w.dim() > 1)
        # 2 FLOP per multiply-add; 3 products: outputs, gradients of weights, gradients of inputs.
        flops += 2 * 3 * num_weights * num_rows * num_frames
        work = _forward_and_backward(layer, num_rows, num_frames, device)
        seconds += least_seconds(work, device)
    model.zero_grad()
    return flops / seconds if layers else None


def latency_floor_seconds(
    model: AcousticModel, num_frames: int, device: torch.device
) -> float | None:
    """What the recurrent layers of a step would take if only the order of frames kept them: the
    time, forward and backward, of layers of FLOOR_UNITS units for one utterance of `num_frames`.

    None if the network has no RecurrentLayer.
    """
    layers = [module for module in model.modules() if isinstance(module, RecurrentLayer)]
    seconds = 0.0
    for layer in layers:
        narrow = RecurrentLayer(
            layer.cell, FLOOR_UNITS, FLOOR_UNITS, layer.directions, bias=layer.bias
        )
        work = _forward_and_backward(narrow.to(device), 1, num_frames, device)
        seconds += least_seconds(work, device)
    return seconds if layers else None


def _forward_and_backward(
    layer: RecurrentLayer, num_rows: int, num_frames: int, device: torch.device
) -> Callable[[], None]:
    """A training step of `layer` alone, whose input needs a gradient, as inside a network."""
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


def least_seconds(
    compute: Callable[[], object], device: torch.device, num_repetitions: int = NUM_REPETITIONS
) -> float:
    """The shortest time of `num_repetitions` calls of `compute`."""
    synchronize = synchronizer(device)
    fastest = float("inf")
    for _ in range(num_repetitions):
        synchronize()
        begun = time.perf_counter()
        compute()
        synchronize()
        fastest = min(fastest, time.perf_counter() - begun)
    return fastest


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """The cost of greedy recognition from recording to text, one utterance at a time."""

    latency_seconds: float
    """Median over utterances."""
    real_time_factor: float
    """Seconds of computing per second of audio, over all utterances."""


def time_recognition(
    model: AcousticModel, config: RunConfig, dataset: Dataset, device: torch.device
) -> Recognition:
    """Read, transform, recognise and decode utterances of `dataset` spread over its lengths.

    `model` is on `device`; it is left in evaluation mode.
    """
    model.eval()
    by_length = sorted(dataset.utterances, key=lambda utterance: utterance.seconds)
    utterances = evenly_spaced(by_length, min(1.0, MAX_RECOGNIZED / len(by_length)))
    trained = TrainedNetwork(model, config, dataset.store.stats, dataset.units)
    spent = []
    for utterance in (utterances[-1], *utterances):  # the first is warm-up
        begun = time.perf_counter()
        # The transcript is copied to the host, which waits for the device.
        waveform_N = read_utterance(utterance, config.features.sample_rate_hz)
        transcribe(trained, waveform_N, device)
        spent.append(time.perf_counter() - begun)
    return Recognition(
        latency_seconds=median(spent[1:]),
        real_time_factor=sum(spent[1:]) / sum(utterance.seconds for utterance in utterances),
    )


def feature_rate(config: RunConfig, corpus: Corpus, folder: Path) -> float:
    """Audio seconds per second of computing and storing the features of `corpus` on all cores.

    The faster of two passes: the first may wait for the disk. The stores are below `folder`.
    """
    seconds = []
    for number in range(2):
        begun = time.perf_counter()
        build_store(folder / f"features-{number}", corpus, config.features)
        seconds.append(time.perf_counter() - begun)
    return sum(utterance.seconds for utterance in corpus.utterances) / min(seconds)
