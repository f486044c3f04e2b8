"""Deep Speech 1 and Mozilla's against independent implementations."""

import torch
import torchaudio

from variants import VARIANTS
from variants.cost import num_parameters
from variants.deepspeech1 import DeepSpeech1, DeepSpeech1Config


def test_outputs_are_torchaudio_s_once_weights_are_copied() -> None:
    ours = DeepSpeech1(DeepSpeech1Config(width=24, context_frames=9), 7, 29).eval()
    theirs = torchaudio.models.DeepSpeech(n_feature=19 * 7, n_hidden=24, n_class=29).eval()
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            layer, *_, leaf = name.split(".")
            if layer == "recurrent":
                leaf += "_reverse" * ("backward_cell" in name)
                getattr(theirs.bi_rnn, leaf).copy_(weight)
            elif layer == "output":
                getattr(theirs.out, leaf).copy_(weight)
            else:
                getattr(getattr(theirs, layer).fc, leaf).copy_(weight)
        feats = 10 * torch.randn(2, 30, 7)  # large enough that the ReLU clips
        windows = torch.stack(
            [
                torch.nn.functional.pad(feats, (0, 0, 9, 9))[:, t : t + 19].flatten(1)
                for t in range(30)
            ],
            dim=1,
        )
        expected = theirs(windows[:, None])
        got, lens = ours(feats, torch.tensor([30, 30]))
    assert lens.tolist() == [30, 30]
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert ours.fc1(windows).max() > 20


def test_size_is_torchaudio_s() -> None:
    spec = VARIANTS["deepspeech1"]
    with torch.device("meta"):
        ours = spec.build(spec.config, 161, 29)
        theirs = torchaudio.models.DeepSpeech(n_feature=3059, n_hidden=2048, n_class=29)
    assert num_parameters(ours) == num_parameters(theirs)


def test_a_stride_of_two_takes_every_second_window() -> None:
    config = DeepSpeech1Config(width=8, context_frames=2, stride_frames=2, directions="forward")
    model = DeepSpeech1(config, 3, 29).eval()
    model.recurrent = torch.nn.Identity()
    model.recurrent.forward = lambda x, lens: x
    feats = torch.randn(1, 9, 3)
    strided, lens = model(feats, torch.tensor([9]))
    assert lens.tolist() == [5]
    model.stride_frames = 1
    every, _ = model(feats, torch.tensor([9]))
    torch.testing.assert_close(strided, every[:, ::2])


def test_dropout_is_on_the_dense_layers_in_training_only() -> None:
    model = DeepSpeech1(DeepSpeech1Config(width=8, dropout=0.5), 3, 29)
    batch = torch.randn(1, 9, 3), torch.tensor([9])
    assert not torch.equal(model(*batch)[0], model(*batch)[0])
    model.eval()
    assert torch.equal(model(*batch)[0], model(*batch)[0])


def test_mozilla_s_is_494_inputs_and_one_forward_lstm() -> None:
    spec = VARIANTS["mozilla-deepspeech"]
    with torch.device("meta"):
        model = spec.build(spec.config, spec.features["num_bins"], 29)
    assert model.fc1.in_features == 494
    assert isinstance(model.recurrent.forward_cell, torch.nn.LSTM)
    assert model.recurrent.backward_cell is None
