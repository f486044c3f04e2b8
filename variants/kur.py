"""Kur's speech model, as Deepgram's post on training Baidu's DeepSpeech ran it.

Source: https://github.com/deepgram/kur, examples/speech.yml: one 1-D convolution without padding,
ReLU, batch normalisation; three recurrent layers of 1000 units, each followed by batch
normalisation; a linear output layer.

Keras counts 19,818,029 trainable parameters; torch's GRU has a second bias, 9,000 more. Kur's GRU
has ReLU as its activation; torch's fast GRU has tanh, which is used here.

Legend: B batch, T frames, F feature bins, U output frames, H width, V symbols.
"""

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from variants.layers import MaskedConv1d, RecurrentLayer, in_chunks
from variants.ops.normalization import MaskedBatchNorm
from variants.spec import MAX_LAYERS, SPECTROGRAM, AcousticModel, VariantSpec, check_range
from variants.streaming import Frames, Stage, recurrence


@dataclass(frozen=True, kw_only=True)
class KurConfig:
    """The `settings` of speech.yml."""

    channels: int = 1000
    kernel_frames: int = 11
    stride_frames: int = 2
    num_layers: int = 3
    width: int = 1000
    """Units of each GRU."""

    def __post_init__(self) -> None:
        check_range(self, "channels", "kernel_frames", "stride_frames", at_least=1)
        check_range(self, "num_layers", "width", at_least=1)
        check_range(self, "num_layers", at_most=MAX_LAYERS)


class Kur(AcousticModel):
    """The network of a KurConfig: [B, T, F] to log-probabilities [B, U, V].

    In its front end ReLU comes before the norm, unlike in Deep Speech 2.
    """

    cannot_stream = None

    def __init__(self, config: KurConfig, num_bins: int, num_symbols: int) -> None:
        super().__init__()
        self.conv = MaskedConv1d(
            num_bins, config.channels, config.kernel_frames, config.stride_frames, 0, bias=True
        )
        self.conv_norm = MaskedBatchNorm(config.channels)
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        num_inputs = config.channels
        for _ in range(config.num_layers):
            self.layers.append(RecurrentLayer("gru", num_inputs, config.width, "forward"))
            self.norms.append(MaskedBatchNorm(config.width))
            num_inputs = config.width
        self.output = nn.Linear(num_inputs, num_symbols)

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        """Output frames of the convolution."""
        return self.conv.output_lengths(feat_lens_B)

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (log_probs_BUV, out_lens_B)."""
        x_BUH, lens_B = self.conv(feats_BTF, feat_lens_B)
        x_BUH = self.conv_norm(x_BUH.relu(), lens_B)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x_BUH = norm(layer(x_BUH, lens_B), lens_B)
        return self._log_probs(x_BUH), lens_B

    def _log_probs(self, x_BUH: Tensor) -> Tensor:
        logits_BUV: Tensor = self.output(x_BUH)
        return logits_BUV.float().log_softmax(dim=-1)

    def stages(self) -> list[Stage]:
        """Convolution, recurrent layers and output of an utterance in chunks."""
        norm = in_chunks(self.conv_norm)
        stages = [self.conv.stage(), Frames(lambda x_BUH: norm(x_BUH.relu()))]
        for layer, layer_norm in zip(self.layers, self.norms, strict=True):
            stages.append(recurrence(cast(RecurrentLayer, layer).forward_cell))
            stages.append(Frames(in_chunks(layer_norm)))
        return [*stages, Frames(self._log_probs)]


SPECS = (
    VariantSpec(
        name="kur-speech",
        summary="Kur's speech.yml: 1-D convolution, 3 GRU layers of 1000 (tanh; Kur's had ReLU)",
        source="https://github.com/deepgram/kur/blob/master/examples/speech.yml",
        config=KurConfig(),
        build=Kur,
        features=SPECTROGRAM,
    ),
)
