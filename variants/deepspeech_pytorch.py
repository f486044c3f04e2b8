"""deepspeech.pytorch, the best-known PyTorch implementation of Deep Speech 2, in two versions.

Source: https://github.com/SeanNaren/deepspeech.pytorch (Sean Naren). Two 2-D convolutions, five
bidirectional layers whose directions are summed, batch normalisation on the input of every layer
but the first and before the output. 86,618,400 parameters; version 1 (no padding in frequency,
GRU without bias) 38,067,968.

Legend: B batch, T frames, F feature bins, U output frames, H width, V symbols.
"""

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from variants.layers import ConvStack2d, RecurrentLayer
from variants.ops.normalization import MaskedBatchNorm
from variants.spec import (
    MAX_LAYERS,
    SPECTROGRAM,
    AcousticModel,
    VariantSpec,
    check_choices,
    check_range,
)
from variants.streaming import BACKWARD_READS_THE_END


@dataclass(frozen=True, kw_only=True)
class DeepSpeechPytorchConfig:
    """The current model; version 1 differs in four fields."""

    convs: tuple[tuple[int, ...], ...] = ((32, 41, 11, 2, 2), (32, 21, 11, 2, 1))
    """Rows of (channels, kernel bins, kernel frames, stride bins, stride frames)."""
    paddings: tuple[tuple[int, ...], ...] = ((20, 5), (10, 5))
    """Zero padding (bins, frames) at both ends, for each convolution."""
    cell: Literal["rnn", "gru", "lstm"] = "lstm"
    num_layers: int = 5
    width: int = 1024
    """Units of each direction."""
    bias: bool = True
    """Of the recurrent cells."""
    relu_clip: float = 20.0
    """Upper limit of the ReLU of the convolutions."""

    def __post_init__(self) -> None:
        check_choices(self)
        if {len(row) for row in self.convs} != {5} or min(min(row) for row in self.convs) < 1:
            raise ValueError(f"convs must be rows of 5 positive numbers, got {self.convs}")
        if (
            len(self.paddings) != len(self.convs)
            or {len(row) for row in self.paddings} != {2}
            or min(min(row) for row in self.paddings) < 0
        ):
            raise ValueError(
                f"paddings must be (bins, frames) for each of {len(self.convs)} convs, "
                f"got {self.paddings}"
            )
        check_range(self, "num_layers", "width", at_least=1)
        check_range(self, "num_layers", at_most=MAX_LAYERS)
        check_range(self, "relu_clip", above=0)


class DeepSpeechPytorch(AcousticModel):
    """The network of a DeepSpeechPytorchConfig: [B, T, F] to log-probabilities [B, U, V]."""

    cannot_stream = BACKWARD_READS_THE_END

    def __init__(self, config: DeepSpeechPytorchConfig, num_bins: int, num_symbols: int) -> None:
        super().__init__()
        self.front_end = ConvStack2d(
            num_bins, config.convs, "batch", config.relu_clip, paddings=config.paddings
        )
        inputs = [self.front_end.num_outputs] + [config.width] * (config.num_layers - 1)
        self.layers = nn.ModuleList(
            RecurrentLayer(config.cell, num_inputs, config.width, "sum", bias=config.bias)
            for num_inputs in inputs
        )
        # Published as norms of the inputs of every layer but the first, and of the output.
        self.norms = nn.ModuleList(MaskedBatchNorm(config.width) for _ in inputs)
        self.output = nn.Linear(config.width, num_symbols, bias=False)

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        """Output frames of the convolutions."""
        return self.front_end.output_lengths(feat_lens_B)

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (log_probs_BUV, out_lens_B)."""
        x_BUH, lens_B = self.front_end(feats_BTF, feat_lens_B)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x_BUH = norm(layer(x_BUH, lens_B), lens_B)
        return self.output(x_BUH).float().log_softmax(dim=-1), lens_B


BASE = DeepSpeechPytorchConfig()
SPECS = (
    VariantSpec(
        name="deepspeech-pytorch",
        summary="deepspeech.pytorch: 2 convolutions 2-D, 5 biLSTM layers of 1024, summed",
        source="https://github.com/SeanNaren/deepspeech.pytorch",
        config=BASE,
        build=DeepSpeechPytorch,
        features=SPECTROGRAM,
    ),
    VariantSpec(
        name="deepspeech-pytorch-v1",
        summary="deepspeech.pytorch 1: no padding in frequency, 5 biGRU layers of 800 without bias",
        source="https://github.com/SeanNaren/deepspeech.pytorch, release 1",
        config=replace(BASE, paddings=((0, 10), (0, 0)), cell="gru", width=800, bias=False),
        build=DeepSpeechPytorch,
        features=SPECTROGRAM,
    ),
)
