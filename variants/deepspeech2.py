"""Deep Speech 2: plain recurrent layers with clipped ReLU and sequence-wise batch normalisation.

Source: "Deep Speech 2: End-to-end speech recognition in English and Mandarin",
https://arxiv.org/abs/1512.02595. `deepspeech2` is the deepest row of its table 1: one 1-D
convolution, 7 recurrent layers of 1280, one dense layer, 38 million parameters.

Legend: B batch, T frames, F feature bins, U output frames, H width, D directions, V symbols.
"""

from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from variants.layers import ConvStack1d, LookAhead, in_chunks
from variants.ops import paths, triton_recurrence
from variants.ops.cells import State
from variants.ops.normalization import MaskedBatchNorm
from variants.ops.padding import reverse_by_length
from variants.spec import (
    MAX_LAYERS,
    SPECTROGRAM,
    AcousticModel,
    VariantSpec,
    check_choices,
    check_range,
)
from variants.streaming import BACKWARD_READS_THE_END, Frames, Recurrence, Stage


@dataclass(frozen=True, kw_only=True)
class DeepSpeech2Config:
    """A convolution, recurrent layers, a dense layer, the output."""

    channels: int = 1280
    kernel_frames: int = 11
    stride_frames: int = 2
    num_layers: int = 7
    width: int = 1280
    """Units of each direction of a recurrent layer, and of the dense layer."""
    directions: Literal["forward", "sum"] = "sum"
    lookahead_frames: int = 0
    """Future output frames read by a row convolution after the last recurrent layer; 0: none."""
    relu_clip: float = 20.0

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, "channels", "kernel_frames", "stride_frames", at_least=1)
        check_range(self, "num_layers", "width", at_least=1)
        check_range(self, "num_layers", at_most=MAX_LAYERS)
        check_range(self, "lookahead_frames", at_least=0)
        check_range(self, "relu_clip", above=0)


class ClippedRecurrence(nn.Module):
    """h_t = f(BN(W x_t) + U h_(t-1)), f clipping to 0..relu_clip; [B, T, C] to [B, T, H].

    Equations 9 and 10 of the paper: both directions share W and its normalisation, each has its own
    U, and their outputs are summed. torch has no such cell.
    """

    def __init__(self, num_inputs: int, width: int, num_directions: int, relu_clip: float) -> None:
        super().__init__()
        self.input = nn.Linear(num_inputs, width, bias=False)  # the norm has one
        self.norm = MaskedBatchNorm(width)
        self.hidden_DHH = nn.Parameter(torch.empty(num_directions, width, width))
        self.relu_clip = relu_clip
        nn.init.uniform_(self.hidden_DHH, -(width**-0.5), width**-0.5)  # as nn.RNN

    def forward(self, x_BTC: Tensor, lens_B: Tensor) -> Tensor:
        """Sum of the directions; the backward one begins at the last frame of each utterance."""
        x_BTH = self.norm(self.input(x_BTC), lens_B)
        if triton_recurrence.computes(x_BTH, x_BTH.shape[-1], has_equal=False):
            return self.by_triton(x_BTH, lens_B)
        paths.note(paths.RECURRENCE, "torch, frame by frame")
        inputs = [x_BTH]
        if len(self.hidden_DHH) == 2:
            inputs.append(reverse_by_length(inputs[0], lens_B))
        # W x is computed for all frames at once, so that a step of the loop is a single batched
        # product for both directions.
        inputs_DBTH = torch.stack(inputs)
        states_DBTH = self._states(inputs_DBTH, torch.zeros_like(inputs_DBTH[:, :, 0]))
        sum_BTH = states_DBTH[0]
        if len(states_DBTH) == 2:
            sum_BTH = sum_BTH + reverse_by_length(states_DBTH[1], lens_B)
        return sum_BTH

    def _states(self, inputs_DBTH: Tensor, state_DBH: Tensor) -> Tensor:
        states = []
        for input_DBH in inputs_DBTH.unbind(dim=2):
            state_DBH = torch.baddbmm(input_DBH, state_DBH, self.hidden_DHH)
            state_DBH = state_DBH.clamp(0.0, self.relu_clip)
            states.append(state_DBH)
        return torch.stack(states, dim=2)

    def stage(self) -> Stage:
        """The forward direction of an utterance in chunks."""
        norm = in_chunks(self.norm)

        def step(x_BTC: Tensor, state: State | None) -> tuple[Tensor, State]:
            inputs_DBTH = norm(self.input(x_BTC))[None]
            (before_DBH,) = state or (torch.zeros_like(inputs_DBTH[:, :, 0]),)
            states_DBTH = self._states(inputs_DBTH, before_DBH)
            return states_DBTH[0], (states_DBTH[:, :, -1],)

        return Recurrence(step)

    def by_triton(self, x_BTH: Tensor, lens_B: Tensor) -> Tensor:
        """The same for normalised inputs, in one launch."""
        gates_BTDH = x_BTH[:, :, None].expand(-1, -1, len(self.hidden_DHH), -1)
        # h U here, h W_hh^T there.
        weight_DHH = self.hidden_DHH.transpose(1, 2)
        states_BTDH = triton_recurrence.recur(
            "CLIPPED_RELU", gates_BTDH, weight_DHH, lens_B, clip=self.relu_clip
        )
        return states_BTDH.sum(dim=2)


class DeepSpeech2(AcousticModel):
    """The network of a DeepSpeech2Config: [B, T, F] to log-probabilities [B, U, V]."""

    def __init__(self, config: DeepSpeech2Config, num_bins: int, num_symbols: int) -> None:
        super().__init__()
        self.cannot_stream = None if config.directions == "forward" else BACKWARD_READS_THE_END
        conv = (config.channels, config.kernel_frames, config.stride_frames)
        self.front_end = ConvStack1d(num_bins, (conv,), "batch", config.relu_clip)
        # The first layer reads the convolution, each further one the layer before it.
        inputs = [config.channels] + [config.width] * (config.num_layers - 1)
        num_directions = 2 if config.directions == "sum" else 1
        self.layers = nn.ModuleList(
            ClippedRecurrence(num_inputs, config.width, num_directions, config.relu_clip)
            for num_inputs in inputs
        )
        self.lookahead = None
        if config.lookahead_frames:
            self.lookahead = LookAhead(config.width, config.lookahead_frames)
        self.dense = nn.Linear(config.width, config.width)
        self.activation = nn.Hardtanh(0.0, config.relu_clip)
        self.output = nn.Linear(config.width, num_symbols)

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        """Output frames of the convolution."""
        return self.front_end.output_lengths(feat_lens_B)

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (log_probs_BUV, out_lens_B)."""
        x_BUH, lens_B = self.front_end(feats_BTF, feat_lens_B)
        for layer in self.layers:
            x_BUH = layer(x_BUH, lens_B)
        if self.lookahead is not None:
            x_BUH = self.lookahead(x_BUH, lens_B)
        return self._log_probs(x_BUH), lens_B

    def _log_probs(self, x_BUH: Tensor) -> Tensor:
        logits_BUV: Tensor = self.output(self.activation(self.dense(x_BUH)))
        return logits_BUV.float().log_softmax(dim=-1)

    def stages(self) -> list[Stage]:
        """Convolution, recurrent layers, look-ahead and output of an utterance in chunks."""
        stages = self.front_end.stages()
        stages += [cast(ClippedRecurrence, layer).stage() for layer in self.layers]
        if self.lookahead is not None:
            stages.append(self.lookahead.stage())
        return [*stages, Frames(self._log_probs)]


BASE = DeepSpeech2Config()
SPECS = (
    VariantSpec(
        name="deepspeech2",
        summary="Deep Speech 2: 1-D convolution, 7 bidirectional ReLU layers of 1280 (38 M)",
        source="https://arxiv.org/abs/1512.02595, table 1",
        config=BASE,
        build=DeepSpeech2,
        features=SPECTROGRAM,
    ),
    VariantSpec(
        name="deepspeech2-online",
        # The paper gives no size; this width gives the number of parameters of deepspeech2.
        summary="deepspeech2 forward, row convolution over 19 frames; width unpublished (38 M)",
        source="https://arxiv.org/abs/1512.02595, section 3.7, which gives no parameter count",
        config=replace(BASE, directions="forward", lookahead_frames=19, width=1560),
        build=DeepSpeech2,
        features=SPECTROGRAM,
    ),
)
