"""Deep Speech 2 against its equations, written out frame by frame."""

import pytest
import torch
from torch import Tensor

from variants import VARIANTS
from variants.cost import num_parameters
from variants.deepspeech2 import ClippedRecurrence, DeepSpeech2, DeepSpeech2Config
from variants.ops.normalization import EPS


def by_the_equations(layer: ClippedRecurrence, x_TC: Tensor, clip: float) -> Tensor:
    """Equations 9 and 10 for one utterance, with the norm's running statistics."""
    norm = layer.norm
    total = torch.zeros(len(x_TC), len(norm.weight))
    for direction, matrix_HH in enumerate(layer.hidden_DHH):
        order = range(len(x_TC)) if direction == 0 else range(len(x_TC) - 1, -1, -1)
        state_H = torch.zeros(len(norm.weight))
        for t in order:
            input_H = layer.input.weight @ x_TC[t]
            input_H = (input_H - norm.running_mean) / (norm.running_var + EPS).sqrt()
            input_H = input_H * norm.weight + norm.bias
            state_H = (input_H + state_H @ matrix_HH).clamp(0, clip)
            total[t] += state_H
    return total


@pytest.mark.parametrize("num_directions", [1, 2])
def test_layer_obeys_its_equations(num_directions: int) -> None:
    layer = ClippedRecurrence(5, 6, num_directions, relu_clip=1.0).eval()
    with torch.no_grad():
        layer.norm.running_mean.normal_()
        layer.norm.running_var.uniform_(0.5, 2)
        layer.norm.bias.normal_()
        x, lens = 3 * torch.randn(2, 9, 5), torch.tensor([9, 4])
        got = layer(x, lens)
        for row, num_frames in enumerate(lens):
            expected = by_the_equations(layer, x[row, :num_frames], 1.0)
            torch.testing.assert_close(got[row, :num_frames], expected)
        assert (expected == num_directions).any(), "nothing was clipped"


def test_both_rows_have_38_million_parameters() -> None:
    for name in ("deepspeech2", "deepspeech2-online"):
        spec = VARIANTS[name]
        with torch.device("meta"):
            model = spec.build(spec.config, 161, 29)
        assert round(num_parameters(model) / 1e6) == 38


@pytest.mark.parametrize("directions", ["forward", "sum"])
def test_forward_only_sees_no_further_than_its_look_ahead(directions: str) -> None:
    config = DeepSpeech2Config(
        channels=8, width=8, directions=directions, lookahead_frames=3, stride_frames=1
    )
    model, lens = DeepSpeech2(config, 4, 29).eval(), torch.tensor([60])
    feats = torch.randn(1, 60, 4)
    changed = feats.clone()
    changed[:, 40] += 5.0  # the convolution reaches 5 frames to either side
    with torch.no_grad():
        differs = (model(feats, lens)[0] != model(changed, lens)[0]).any(dim=-1)[0]
    first = int(differs.nonzero()[0])
    assert first == 40 - 5 - 3 if directions == "forward" else first < 40 - 5 - 3
