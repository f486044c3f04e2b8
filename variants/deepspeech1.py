"""Deep Speech 1: dense layers over a window of frames and a single recurrent layer.

Source: "Deep Speech: Scaling up end-to-end speech recognition", https://arxiv.org/abs/1412.5567.
The network is that of torchaudio.models.DeepSpeech: with its weights a test gets the same outputs.
torchaudio's takes no lengths, so its backward direction reads the padding; this one does not.

Legend: B batch, T frames, F feature bins, U output frames, H width, V symbols.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from variants.layers import RecurrentLayer, conv_lengths, stack_context
from variants.ops.dropout import Dropout
from variants.spec import SPECTROGRAM, AcousticModel, VariantSpec, check_choices, check_range
from variants.streaming import BACKWARD_READS_THE_END, Frames, Stage, Windows, recurrence


@dataclass(frozen=True, kw_only=True)
class DeepSpeech1Config:
    """Three dense layers, a recurrent layer, a dense layer, the output."""

    context_frames: int = 9
    """Frames on either side in the input of the first layer (paper: 5, 7 or 9)."""
    stride_frames: int = 1
    """Input frames per output frame. The paper uses 2 to save time, torchaudio 1. The default is 1,
    for which an independent implementation exists."""
    width: int = 2048
    """Units of every hidden layer."""
    cell: Literal["relu_rnn", "lstm"] = "relu_rnn"
    directions: Literal["forward", "sum"] = "sum"
    dropout: float = 0.05
    """Probability, on the dense layers only (paper: 5 to 10 %)."""
    relu_clip: float = 20.0
    """Upper limit of the ReLU of the dense layers."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, "context_frames", at_least=0)
        check_range(self, "stride_frames", "width", at_least=1)
        check_range(self, "dropout", at_least=0, below=1)
        check_range(self, "relu_clip", above=0)


class DeepSpeech1(AcousticModel):
    """The network of a DeepSpeech1Config: [B, T, F] to log-probabilities [B, U, V]."""

    def __init__(self, config: DeepSpeech1Config, num_bins: int, num_symbols: int) -> None:
        super().__init__()
        self.context_frames, self.stride_frames = config.context_frames, config.stride_frames
        self.cannot_stream = None if config.directions == "forward" else BACKWARD_READS_THE_END
        width = config.width
        self.fc1 = nn.Linear((2 * config.context_frames + 1) * num_bins, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, width)
        self.recurrent = RecurrentLayer(config.cell, width, width, config.directions)
        self.fc4 = nn.Linear(width, width)
        self.output = nn.Linear(width, num_symbols)
        self.finish = nn.Sequential(nn.Hardtanh(0.0, config.relu_clip), Dropout(config.dropout))
        # As Mozilla's train.py. There is no normalisation here, and with torch's default weights
        # the activations would shrink at each ReLU.
        for dense in (self.fc1, self.fc2, self.fc3, self.fc4, self.output):
            nn.init.xavier_uniform_(dense.weight)
            nn.init.zeros_(dense.bias)

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        """One output frame for every `stride_frames` input frames, starting with the first."""
        return conv_lengths(feat_lens_B, kernel=1, stride=self.stride_frames, padding=0)

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (log_probs_BUV, out_lens_B)."""
        windows = stack_context(feats_BTF, feat_lens_B, self.context_frames)
        x_BUH, lens_B = windows[:, :: self.stride_frames], self.output_lengths(feat_lens_B)
        return self._log_probs(self.recurrent(self._dense(x_BUH), lens_B)), lens_B

    def _dense(self, x_BUH: Tensor) -> Tensor:
        for dense in (self.fc1, self.fc2, self.fc3):
            x_BUH = self.finish(dense(x_BUH))
        return x_BUH

    def _log_probs(self, x_BUH: Tensor) -> Tensor:
        logits_BUV: Tensor = self.output(self.finish(self.fc4(x_BUH)))
        return logits_BUV.float().log_softmax(dim=-1)

    def stages(self) -> list[Stage]:
        """Windows of frames, dense layers, recurrent layer and output of an utterance in chunks."""
        size, stride = 2 * self.context_frames + 1, self.stride_frames
        windows = Windows(
            # As `stack_context`: frame by frame, where unfold puts the frames of a window last.
            lambda x_BTF: x_BTF.unfold(1, size, stride).transpose(2, 3).flatten(2),
            size=size,
            stride=stride,
            left=self.context_frames,
            right=self.context_frames,
        )
        recurrent = recurrence(self.recurrent.forward_cell)
        return [windows, Frames(self._dense), recurrent, Frames(self._log_probs)]


SPECS = (
    VariantSpec(
        name="deepspeech1",
        summary="Deep Speech 1: 3 dense layers of 2048, one bidirectional ReLU RNN, one dense",
        source="https://arxiv.org/abs/1412.5567, as torchaudio.models.DeepSpeech",
        config=DeepSpeech1Config(),
        build=DeepSpeech1,
        features=SPECTROGRAM,
    ),
)
