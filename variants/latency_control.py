"""Two directions with a bounded latency.

Source: Zhang et al. 2016, "Highway long short-term memory RNNs for distant speech recognition",
https://arxiv.org/abs/1510.08983, section 3.3.

Legend: B batch, K windows of an utterance, N = B K, T frames, W frames of a window, C channels,
H width.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from variants.layers import RecurrentLayer
from variants.ops.cells import State
from variants.ops.padding import zero_padding
from variants.streaming import Chunks, Stage


class LatencyControl:
    """Layers in two directions that read the utterance in overlapping windows.

    Window k holds the `chunk` frames from ``k * chunk`` on and the next `context` frames; all
    layers run within it, and their outputs for the chunk are used (the paper's N_c and N_r). An
    output frame waits for at most ``chunk - 1 + context`` frames, however many layers there are.
    Batch statistics count the frames of each window's context again.
    """

    def __init__(
        self,
        layers: Sequence[RecurrentLayer],
        between: Sequence[Callable[[Tensor, Tensor], Tensor]],
        chunk: int,
        context: int,
    ) -> None:
        """After each layer comes a function of (x [N, W, C], lens_N), such as a norm."""
        self._parts = tuple(zip(layers, between, strict=True))
        self._chunk, self._context = chunk, context

    def __call__(self, x_BTC: Tensor, lens_B: Tensor) -> Tensor:
        """[B, T, C] to [B, T, num_outputs]."""
        # Chunks of 4 frames with 2 of context; only the chunk's outputs are used:
        #
        #     frames      0  1  2  3  4  5  6  7  8  9
        #     window 0    [ chunk  ] (ctx)
        #     window 1                [ chunk  ] (ctx)
        num_frames = x_BTC.shape[1]
        num_chunks = -(-num_frames // self._chunk)
        lacking = num_chunks * self._chunk + self._context - num_frames
        padded_BTC = F.pad(zero_padding(x_BTC, lens_B), (0, 0, 0, lacking))
        windows_BKWC = padded_BTC.unfold(1, self._chunk + self._context, self._chunk).transpose(
            2, 3
        )
        starts_K = self._chunk * torch.arange(num_chunks, device=lens_B.device)
        lens_BK = (lens_B[:, None] - starts_K).clamp(0, self._chunk + self._context)
        y_BKWH, _ = self._run(windows_BKWC, lens_BK, [None] * len(self._parts))
        return y_BKWH[:, :, : self._chunk].flatten(1, 2)[:, :num_frames]

    def _run(
        self, x_BKWC: Tensor, lens_BK: Tensor, states: Sequence[State | None]
    ) -> tuple[Tensor, list[State | None]]:
        after: list[State | None] = []
        for (layer, between), state in zip(self._parts, states, strict=True):
            y_BKWH, state_after = layer.over_windows(x_BKWC, lens_BK, self._chunk, state)
            after.append(state_after)
            y_NWH = between(y_BKWH.flatten(0, 1), lens_BK.flatten())
            x_BKWC = y_NWH.view(*lens_BK.shape, *y_NWH.shape[1:])
        return x_BKWC, after

    def stage(self) -> Stage:
        """The layers of an utterance in chunks."""
        states: list[State | None] = [None] * len(self._parts)

        def run(x_1WC: Tensor, num_valid: int) -> Tensor:
            lens_11 = torch.tensor([[num_valid]], device=x_1WC.device)
            y_11WH, states[:] = self._run(x_1WC[:, None], lens_11, states)
            return y_11WH[:, 0, : self._chunk]

        return Chunks(run, self._chunk, self._context)
