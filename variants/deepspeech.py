"""The ds-* family: small DeepSpeech models, one difference apart, sized for a laptop CPU.

Source: the architecture of Kur's speech.yml (see kur.py), smaller and configurable: convolutions
over the spectrogram, recurrent layers each followed by normalisation, a linear output layer.
Log-mel features and a stride of 3 frames (33 output frames per second) keep it fast; with a larger
stride fast speech would have fewer output frames than CTC needs.

Legend: B batch, T frames, F feature bins, U output frames, H width, V symbols.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from variants.latency_control import LatencyControl
from variants.layers import (
    ConvStack1d,
    ConvStack2d,
    Directions,
    LookAhead,
    RecurrentLayer,
    in_chunks,
)
from variants.ops.dropout import Dropout
from variants.ops.normalization import Norm, Normalization
from variants.spec import BLANK, MAX_LAYERS, AcousticModel, VariantSpec, check_choices, check_range
from variants.streaming import BACKWARD_READS_THE_END, Frames, Stage, recurrence

MAX_BLANK_BIAS = 20
NUM_LETTERS = 28
"""The symbols beside the blank for which `blank_bias` is given: the engine's alphabet, whose length
is repeated here, since variants import nothing of the engine; a test compares the two."""
OUTPUT_WEIGHT_SCALE = 0.1


@dataclass(frozen=True, kw_only=True)
class DeepSpeechConfig:
    """Front end, recurrent layers, look-ahead, dense layers, output."""

    convs: tuple[tuple[int, ...], ...] = ((256, 21, 3),)
    """The front end, one row per convolution: (channels, kernel frames, stride frames) if 1-D over
    all bins, or (channels, kernel bins, kernel frames, stride bins, stride frames) if 2-D."""
    cell: Literal["rnn", "gru", "lstm", "mingru", "minlstm", "qrnn", "sru", "ligru"] = "gru"
    """`rnn` is the tanh RNN; variants.ops.cells has the equations of those after `lstm`."""
    num_layers: int = 3
    width: int = 256
    """Units of each direction of a recurrent layer."""
    directions: Directions = "forward"
    """Forward only, or bidirectional with outputs summed or concatenated."""
    backward_chunk_frames: int = 0
    """Output frames after which the backward direction begins anew, so that it can stream
    (latency-controlled, see variants.latency_control); 0: it begins at the utterance's end."""
    backward_context_frames: int = 0
    """Output frames past the chunk from which the backward direction begins."""
    norm: Norm = "batch"
    """After each convolution and each recurrent layer."""
    lookahead_frames: int = 0
    """Future output frames read by a row convolution after the last recurrent layer; 0: none."""
    dense_widths: tuple[int, ...] = ()
    """Widths of clipped-ReLU layers between the recurrent layers and the output."""
    dropout: float = 0.1
    """Probability, at the outputs of each recurrent and dense layer."""
    relu_clip: float = 20.0
    """Upper limit of the ReLU of convolutions and dense layers."""
    blank_bias: float = 3.0
    """Initial bias of the blank among 29 symbols, beside output weights a tenth of torch's; more
    symbols get the same probability of the blank. 0: all as torch initialises them. See
    `_expect_blanks`."""

    def __post_init__(self) -> None:
        check_choices(self)
        shapes = {len(row) for row in self.convs}
        if shapes not in ({3}, {5}) or min(min(row) for row in self.convs) < 1:
            raise ValueError(
                "convs must be rows of 3 (1-D) or rows of 5 (2-D) positive numbers, "
                f"got {self.convs}"
            )
        check_range(self, "num_layers", "width", at_least=1)
        check_range(self, "num_layers", at_most=MAX_LAYERS)
        check_range(self, "lookahead_frames", "backward_chunk_frames", at_least=0)
        check_range(self, "backward_context_frames", at_least=0)
        chunk, context = self.backward_chunk_frames, self.backward_context_frames
        for name, value, must_be_0, reason in (
            ("chunk", chunk, self.directions == "forward", "without a backward direction"),
            # Its normalisation needs statistics of whole utterances, not of chunks.
            ("chunk", chunk, self.cell == "ligru", "for the cell ligru"),
            ("context", context, not chunk, "without backward_chunk_frames"),
        ):
            if value and must_be_0:
                raise ValueError(f"backward_{name}_frames must be 0 {reason}, got {value}")
        if any(width < 1 for width in self.dense_widths):
            raise ValueError(f"dense_widths must be positive, got {self.dense_widths}")
        check_range(self, "dropout", at_least=0, below=1)
        check_range(self, "relu_clip", above=0)
        check_range(self, "blank_bias", at_least=0, at_most=MAX_BLANK_BIAS)


def _expect_blanks(output: nn.Linear, bias: float) -> None:
    """Begin with the prior of CTC, that most frames are blank, as Lin et al. 2017
    (arXiv:1708.02002) begin with the prior of a rare class.

    With torch's initialisation random weights decide in the first steps which frames emit what.
    Some networks then keep a poor alignment, with early and long spaces, to the end of training:
    some ten points of WER that hang on the initial weights (docs/experiments.md).
    """
    with torch.no_grad():
        output.weight.mul_(OUTPUT_WEIGHT_SCALE)
        output.bias.zero_()
        # The odds of the blank, e^bias to V - 1 symbols, are those of a network of letters.
        output.bias[BLANK] = bias + math.log((len(output.bias) - 1) / NUM_LETTERS)


class DeepSpeech(AcousticModel):
    """The network of a DeepSpeechConfig: [B, T, F] to log-probabilities [B, U, V]."""

    def __init__(self, config: DeepSpeechConfig, num_bins: int, num_symbols: int) -> None:
        super().__init__()
        if config.directions == "forward" or config.backward_chunk_frames:
            self.cannot_stream = None
        else:
            self.cannot_stream = BACKWARD_READS_THE_END
        self.chunk_frames = max(1, config.backward_chunk_frames)
        self.context_frames = config.backward_context_frames
        self.is_latency_controlled = config.backward_chunk_frames > 0
        stack = ConvStack1d if len(config.convs[0]) == 3 else ConvStack2d
        self.front_end = stack(
            num_bins, config.convs, config.norm, config.relu_clip, norm_first=False
        )
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        num_inputs = self.front_end.num_outputs
        for _ in range(config.num_layers):
            layer = RecurrentLayer(config.cell, num_inputs, config.width, config.directions)
            self.layers.append(layer)
            self.norms.append(Normalization(config.norm, layer.num_outputs))
            num_inputs = layer.num_outputs
        self.lookahead = None
        if config.lookahead_frames:
            self.lookahead = LookAhead(num_inputs, config.lookahead_frames)
        self.dense = nn.Sequential()
        for width in config.dense_widths:
            self.dense.append(nn.Linear(num_inputs, width))
            self.dense.append(nn.Hardtanh(0.0, config.relu_clip))
            self.dense.append(Dropout(config.dropout))
            num_inputs = width
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(num_inputs, num_symbols)
        if config.blank_bias:
            _expect_blanks(self.output, config.blank_bias)

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        """Output frames of the front end."""
        return self.front_end.output_lengths(feat_lens_B)

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (log_probs_BUV, out_lens_B)."""
        x_BUH, lens_B = self.front_end(feats_BTF, feat_lens_B)
        if self.is_latency_controlled:
            x_BUH = self._latency_control()(x_BUH, lens_B)
        else:
            for layer, norm in zip(self.layers, self.norms, strict=True):
                x_BUH = self.dropout(norm(layer(x_BUH, lens_B), lens_B))
        if self.lookahead is not None:
            x_BUH = self.lookahead(x_BUH, lens_B)
        return self._log_probs(x_BUH), lens_B

    def stages(self) -> list[Stage]:
        """Front end, recurrent layers, look-ahead and output of an utterance in chunks."""
        stages = self.front_end.stages()
        if self.is_latency_controlled:
            stages.append(self._latency_control().stage())
        else:
            for layer, norm in zip(self.layers, self.norms, strict=True):
                stages.append(recurrence(cast(RecurrentLayer, layer).forward_cell))
                stages.append(Frames(in_chunks(norm)))
        if self.lookahead is not None:
            stages.append(self.lookahead.stage())
        return [*stages, Frames(self._log_probs)]

    def _log_probs(self, x_BUH: Tensor) -> Tensor:
        logits_BUV: Tensor = self.output(self.dense(x_BUH))
        return logits_BUV.float().log_softmax(dim=-1)

    def _latency_control(self) -> LatencyControl:
        def after(norm: nn.Module, x: Tensor, lens: Tensor) -> Tensor:
            return cast(Tensor, self.dropout(norm(x, lens)))

        return LatencyControl(
            [cast(RecurrentLayer, layer) for layer in self.layers],
            [partial(after, norm) for norm in self.norms],
            self.chunk_frames,
            self.context_frames,
        )


def _spec(
    name: str,
    summary: str,
    base: DeepSpeechConfig,
    cell_source: str = "https://arxiv.org/abs/1512.02595",
    **difference: Any,
) -> VariantSpec:
    return VariantSpec(
        name=name,
        summary=summary,
        source=f"this project, after Kur's speech.yml and {cell_source}",
        config=replace(base, **difference),
        build=DeepSpeech,
        features={"kind": "log_mel", "num_bins": 64},
    )


GRU = DeepSpeechConfig()
RNN = replace(GRU, cell="rnn")
LSTM = replace(GRU, cell="lstm")
# Two directions of 192 units have about as many recurrent weights as one of 256: 2 · 192² ≈ 256².
BIGRU = replace(GRU, directions="sum", width=192)
BIRNN = replace(BIGRU, cell="rnn")
BILSTM = replace(BIGRU, cell="lstm")
FENG, LEI = "https://arxiv.org/abs/2410.01201", "https://arxiv.org/abs/1709.02755"
BRADBURY, RAVANELLI = "https://arxiv.org/abs/1611.01576", "https://arxiv.org/abs/1803.10225"

SPECS = (
    _spec("ds-rnn", "3 tanh RNN layers of 256, forward only", RNN),
    _spec("ds-rnn-deep", "ds-rnn with 5 layers", RNN, num_layers=5),
    _spec("ds-rnn-wide", "ds-rnn at width 512", RNN, width=512),
    _spec("ds-gru", "3 GRU layers of 256, forward only: the base of the family", GRU),
    _spec("ds-gru-deep", "ds-gru with 5 layers", GRU, num_layers=5),
    _spec("ds-gru-wide", "ds-gru at width 512", GRU, width=512),
    _spec(
        "ds-gru-lookahead",
        "ds-gru with a row convolution over the next 10 output frames (0.3 s)",
        GRU,
        lookahead_frames=10,
    ),
    _spec("ds-lstm", "3 LSTM layers of 256, forward only", LSTM),
    _spec("ds-lstm-deep", "ds-lstm with 5 layers", LSTM, num_layers=5),
    _spec("ds-lstm-wide", "ds-lstm at width 512", LSTM, width=512),
    _spec("ds-birnn", "3 bidirectional tanh RNN layers of 192, summed", BIRNN),
    _spec("ds-birnn-deep", "ds-birnn with 5 layers", BIRNN, num_layers=5),
    _spec("ds-birnn-wide", "ds-birnn at width 384", BIRNN, width=384),
    _spec("ds-bigru", "3 bidirectional GRU layers of 192, summed", BIGRU),
    _spec("ds-bigru-deep", "ds-bigru with 5 layers", BIGRU, num_layers=5),
    _spec("ds-bigru-wide", "ds-bigru at width 384", BIGRU, width=384),
    _spec("ds-bilstm", "3 bidirectional LSTM layers of 192, summed", BILSTM),
    _spec("ds-bilstm-deep", "ds-bilstm with 5 layers", BILSTM, num_layers=5),
    _spec("ds-bilstm-wide", "ds-bilstm at width 384", BILSTM, width=384),
    _spec("ds-mingru", "ds-gru with minGRU cells", GRU, FENG, cell="mingru"),
    _spec("ds-bimingru", "ds-bigru with minGRU cells", BIGRU, FENG, cell="mingru"),
    _spec("ds-minlstm", "ds-lstm with minLSTM cells", LSTM, FENG, cell="minlstm"),
    _spec("ds-biminlstm", "ds-bilstm with minLSTM cells", BILSTM, FENG, cell="minlstm"),
    _spec("ds-sru", "ds-gru with simple recurrent units", GRU, LEI, cell="sru"),
    _spec("ds-bisru", "ds-bigru with simple recurrent units", BIGRU, LEI, cell="sru"),
    _spec("ds-qrnn", "ds-gru with quasi-recurrent cells", GRU, BRADBURY, cell="qrnn"),
    _spec("ds-biqrnn", "ds-bigru with quasi-recurrent cells", BIGRU, BRADBURY, cell="qrnn"),
    _spec("ds-ligru", "ds-gru with light GRU cells", GRU, RAVANELLI, cell="ligru"),
    _spec("ds-biligru", "ds-bigru with light GRU cells", BIGRU, RAVANELLI, cell="ligru"),
)
