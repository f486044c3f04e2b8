"""Kur's and deepspeech.pytorch's networks against the same networks built of torch's layers."""

import pytest
import torch
from torch import Tensor, nn

from variants.deepspeech_pytorch import DeepSpeechPytorch, DeepSpeechPytorchConfig
from variants.kur import Kur, KurConfig


def over_channels(norm: nn.BatchNorm1d, x_BTC: Tensor) -> Tensor:
    return norm(x_BTC.transpose(1, 2)).transpose(1, 2)


class KurInTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.conv_norm = nn.Conv1d(6, 10, 5, stride=2), nn.BatchNorm1d(10)
        self.cells = nn.ModuleList(
            [nn.GRU(10, 8, batch_first=True), nn.GRU(8, 8, batch_first=True)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm1d(8), nn.BatchNorm1d(8)])
        self.output = nn.Linear(8, 29)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_norm(self.conv(x.transpose(1, 2)).relu()).transpose(1, 2)
        for cell, norm in zip(self.cells, self.norms, strict=True):
            x = over_channels(norm, cell(x)[0])
        return self.output(x).log_softmax(-1)


class DeepSpeechPytorchInTorch(nn.Module):
    def __init__(self, cell: type[nn.RNNBase], bias: bool, paddings: list[tuple[int, int]]) -> None:
        super().__init__()
        convs: list[nn.Module] = []
        for num_maps, kernel, stride, padding in zip(
            (1, 4), ((9, 5), (5, 5)), ((2, 2), (2, 1)), paddings, strict=True
        ):
            convs += [
                nn.Conv2d(num_maps, 4, kernel, stride, padding),
                nn.BatchNorm2d(4),
                nn.Hardtanh(0, 20),
            ]
        self.convs = nn.Sequential(*convs)
        num_inputs = self.convs(torch.zeros(2, 1, 31, 40)).shape[2] * 4
        self.cells = nn.ModuleList(
            cell(n, 8, batch_first=True, bidirectional=True, bias=bias) for n in (num_inputs, 8)
        )
        self.norms = nn.ModuleList([nn.BatchNorm1d(8), nn.BatchNorm1d(8)])
        self.output = nn.Linear(8, 29, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs(x.transpose(1, 2)[:, None]).flatten(1, 2).transpose(1, 2)
        for cell, norm in zip(self.cells, self.norms, strict=True):
            x = over_channels(norm, cell(x)[0].unflatten(2, (2, 8)).sum(2))
        return self.output(x).log_softmax(-1)


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Both in order of definition; a bidirectional cell of torch has its backward weights last."""
    weights, places = list(source.parameters()), list(target.parameters())
    assert [w.shape for w in weights] == [w.shape for w in places]
    with torch.no_grad():
        for weight, place in zip(weights, places, strict=True):
            place.copy_(weight + 0.1 * torch.randn_like(weight))
            weight.copy_(place)


@pytest.mark.parametrize("training", [True, False])
def test_kur(training: bool) -> None:
    config = KurConfig(channels=10, kernel_frames=5, num_layers=2, width=8)
    ours, theirs = Kur(config, 6, 29).train(training), KurInTorch().train(training)
    copy_weights(by_layer(theirs, "cells"), by_layer(ours, "layers"))
    feats, lens = torch.randn(2, 40, 6), torch.tensor([40, 40])
    log_probs, out_lens = ours(feats, lens)
    expected = theirs(feats)
    assert out_lens.tolist() == [expected.shape[1]] * 2
    torch.testing.assert_close(log_probs, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "cell, bias, paddings", [("lstm", True, ((4, 2), (2, 2))), ("gru", False, ((0, 4), (0, 0)))]
)
def test_deepspeech_pytorch(cell: str, bias: bool, paddings: tuple[tuple[int, int], ...]) -> None:
    config = DeepSpeechPytorchConfig(
        convs=((4, 9, 5, 2, 2), (4, 5, 5, 2, 1)),
        paddings=paddings,
        cell=cell,
        bias=bias,
        num_layers=2,
        width=8,
    )
    ours = DeepSpeechPytorch(config, 31, 29)
    theirs = DeepSpeechPytorchInTorch(nn.LSTM if cell == "lstm" else nn.GRU, bias, list(paddings))
    copy_weights(by_layer(theirs, "cells"), by_layer(ours, "layers"))
    feats, lens = torch.randn(2, 40, 31), torch.tensor([40, 40])
    log_probs, out_lens = ours(feats, lens)
    expected = theirs(feats)
    assert out_lens.tolist() == [expected.shape[1]] * 2
    torch.testing.assert_close(log_probs, expected, atol=1e-5, rtol=1e-4)


def by_layer(model: nn.Module, cells: str) -> nn.ModuleList:
    """The modules of `model` with weights, front end first: convolution, norm, convolution, …"""
    if hasattr(model, "front_end"):
        pairs = zip(model.front_end.convs, model.front_end.norms, strict=True)
        front: list[nn.Module] = [part for pair in pairs for part in pair]
    else:
        front = [model.convs] if hasattr(model, "convs") else [model.conv, model.conv_norm]
    return nn.ModuleList([*front, *getattr(model, cells), *model.norms, model.output])
