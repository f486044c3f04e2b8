"""The cost of a network: parameters, and multiply-adds per second of audio.

A weight matrix or kernel is used once per position of its layer's output, so its multiply-adds are
its number of weights times the number of positions, read off a forward pass on the meta device.
"""

from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from variants.spec import AcousticModel


def num_parameters(model: nn.Module) -> int:
    """The number of trainable parameters of `model`; running statistics are not among them."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs_per_second(model: AcousticModel, num_bins: int, frames_per_second: float = 100.0) -> float:
    """Multiply-adds of the forward pass per additional second of audio.

    Counts products with weight matrices and kernels; normalisation, activations and gates add about
    1 %. `model` may be on the meta device. `frames_per_second` are input frames.
    """
    return _macs_per_frame(model, num_bins).forward * frames_per_second


def training_macs_per_second(
    model: AcousticModel, num_bins: int, frames_per_second: float
) -> float:
    """Multiply-adds of forward and backward pass per additional second of audio.

    Each product of the forward pass (see `macs_per_second`) takes two in the backward pass: the
    gradient of its weights and that of its input. Layers that read the features need no gradient of
    their input.
    """
    macs = _macs_per_frame(model, num_bins)
    return 3 * (macs.forward * frames_per_second) - macs.first_layers * frames_per_second


class _Macs(NamedTuple):
    """Multiply-adds of a forward pass."""

    forward: float
    """Of all layers."""
    first_layers: float
    """Of the layers whose input needs no gradient."""


def _macs_per_frame(model: AcousticModel, num_bins: int) -> _Macs:
    """Multiply-adds per additional input frame.

    The difference between two lengths that are one overall stride apart (of a network that computes
    chunks, as many as a chunk has output frames): constant costs at the ends of an utterance
    (padding, context) cancel.
    """
    #     frames    shorter: one output frame or more    + stride: one chunk of them more
    #     macs      ends + n frames                      ends + n frames + stride frames
    #
    # Over very many frames the numbers of input and output frames have the ratio of the strides.
    many = 10**6
    stride = round(many / int(model.output_lengths(torch.tensor(many)))) * model.chunk_frames
    num_frames = stride
    while int(model.output_lengths(torch.tensor(num_frames))) < 1:
        num_frames += stride
    shorter, longer = (_macs(model, num_bins, n) for n in (num_frames, num_frames + stride))
    return _Macs(
        forward=(longer.forward - shorter.forward) / stride,
        first_layers=(longer.first_layers - shorter.first_layers) / stride,
    )


def _macs(model: AcousticModel, num_bins: int, num_frames: int) -> _Macs:
    """Multiply-adds of one utterance of `num_frames` input frames."""
    forward, first_layers = 0, 0

    def count(
        module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]
    ) -> None:
        nonlocal forward, first_layers
        out: Tensor = output[0] if isinstance(output, tuple) else output  # cells return states too
        num_weights = sum(w.numel() for w in module.parameters(recurse=False) if w.dim() > 1)
        channel_axis = 1 if isinstance(module, (nn.Conv1d, nn.Conv2d)) else -1
        # Each weight is used once at every position of the output: frames, and bins in two
        # dimensions.
        macs = num_weights * (out.numel() // out.shape[channel_axis])
        forward += macs
        if not inputs[0].requires_grad:
            first_layers += macs

    owners = [m for m in model.modules() if any(w.dim() > 1 for w in m.parameters(recurse=False))]
    hooks = [module.register_forward_hook(count) for module in owners]
    state = chain(model.named_parameters(), model.named_buffers())
    feats_BTF = torch.empty(1, num_frames, num_bins, device="meta")
    feat_lens_B = torch.empty(1, dtype=torch.int64, device="meta")
    try:
        # Gradients are enabled so that `requires_grad` of an activation is true exactly where a
        # weight precedes it. Copies on the meta device leave running statistics unchanged.
        with torch.enable_grad():
            weights = {name: tensor.to("meta") for name, tensor in state}
            functional_call(model, weights, (feats_BTF, feat_lens_B))
    finally:
        for hook in hooks:
            hook.remove()
    return _Macs(forward, first_layers)
