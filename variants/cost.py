"""What a network costs: parameters, and multiply-adds per second of audio."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from variants.spec import AcousticModel


def num_parameters(model: nn.Module) -> int:
    """Trainable numbers in `model`; running statistics are none."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs_per_second(model: AcousticModel, num_bins: int, frames_per_second: float = 100.0) -> float:
    """Multiply-adds of one forward pass per further second of audio.

    Weight matrices and kernels only: normalisation, activations and gates are a percent or so. What
    counts is the difference between two lengths one overall stride apart, so the ends of the
    utterance cost nothing. The pass runs on the meta device, where `model` may live too.
    """
    many = 10**6
    stride = round(many / int(model.output_lengths(torch.tensor(many))))
    num_frames = stride
    while int(model.output_lengths(torch.tensor(num_frames))) < 1:
        num_frames += stride
    further = _macs(model, num_bins, num_frames + stride) - _macs(model, num_bins, num_frames)
    return further / stride * frames_per_second


def _macs(model: AcousticModel, num_bins: int, num_frames: int) -> int:
    """Multiply-adds of one utterance: each weight is used once per position of its output."""
    total = 0

    def count(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal total
        out: Tensor = output[0] if isinstance(output, tuple) else output  # cells give states too
        num_weights = sum(w.numel() for w in module.parameters(recurse=False) if w.dim() > 1)
        channel_axis = 1 if isinstance(module, (nn.Conv1d, nn.Conv2d)) else -1
        total += num_weights * (out.numel() // out.shape[channel_axis])

    owners = [m for m in model.modules() if any(w.dim() > 1 for w in m.parameters(recurse=False))]
    hooks = [module.register_forward_hook(count) for module in owners]
    state = chain(model.named_parameters(), model.named_buffers())
    feats_BTF = torch.empty(1, num_frames, num_bins, device="meta")
    feat_lens_B = torch.empty(1, dtype=torch.int64, device="meta")
    try:
        with torch.no_grad():  # on stand-ins, so the running statistics stay as they are
            weights = {name: tensor.to("meta") for name, tensor in state}
            functional_call(model, weights, (feats_BTF, feat_lens_B))
    finally:
        for hook in hooks:
            hook.remove()
    return total
