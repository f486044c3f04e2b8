"""Counts of arithmetic against torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.costs.arithmetic import (
    matmul_peak,
    recurrent_flops_per_second,
    synchronizer,
    threads,
    training_macs_per_second,
)
from tests.costs.conftest import CPU
from variants import VARIANTS
from variants.deepspeech import DeepSpeech, DeepSpeechConfig
from variants.deepspeech1 import DeepSpeech1, DeepSpeech1Config
from variants.deepspeech2 import DeepSpeech2, DeepSpeech2Config
from variants.spec import AcousticModel

# Not among them: look-ahead, whose grouped convolution torch's counter takes for a full one when
# it goes backward.
CONFIGS = {
    "gru": DeepSpeechConfig(width=8),
    "rnn, conv2d": DeepSpeechConfig(cell="rnn", convs=((4, 9, 5, 2, 2), (6, 5, 3, 2, 3)), width=8),
    "lstm, sum": DeepSpeechConfig(cell="lstm", convs=((4, 5, 5),), directions="sum", width=8),
    "gru, concat, dense": DeepSpeechConfig(directions="concat", width=8, dense_widths=(9, 7)),
}


@pytest.mark.parametrize(
    "model",
    [
        *(DeepSpeech(config, 20, 29) for config in CONFIGS.values()),
        DeepSpeech1(DeepSpeech1Config(width=8, stride_frames=2), 20, 29),
        DeepSpeech2(DeepSpeech2Config(channels=6, width=8, num_layers=2), 20, 29),
    ],
    ids=[*CONFIGS, "deepspeech1", "deepspeech2"],
)
def test_training_agrees_with_torch_s_flop_counter(model: AcousticModel) -> None:
    """With running statistics: sums over the batch are products, and norms are not counted."""
    model = model.to("meta").eval()

    def flops(num_frames: int) -> int:
        with FlopCounterMode(display=False) as counter:
            lens_B = torch.tensor([num_frames], device="meta")
            log_probs_BUV, _ = model(torch.empty(1, num_frames, 20, device="meta"), lens_B)
            log_probs_BUV.sum().backward()
        return counter.get_total_flops()

    expected = (flops(60) - flops(30)) / 2 / 0.3
    assert training_macs_per_second(model, 20, 100.0) == pytest.approx(expected, rel=1e-9)


def test_kur_s_by_hand() -> None:
    spec = VARIANTS["kur-speech"]
    with torch.device("meta"):
        model = spec.build(spec.config, 161, 29)
    front_end, rest = 161 * 1000 * 11, 3 * 3 * (1000 + 1000) * 1000 + 1000 * 29
    expected = 50 * (2 * front_end + 3 * rest)
    assert training_macs_per_second(model, 161, 100.0) == pytest.approx(expected)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = DeepSpeech(DeepSpeechConfig(width=8), 20, 29).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    training_macs_per_second(model, 20, 100.0)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_rates_are_positive_and_leave_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.costs.arithmetic.PEAK_SIZES", {"cpu": (64,)})
    assert matmul_peak(CPU) > 0
    model = DeepSpeech(DeepSpeechConfig(width=8, directions="sum"), 20, 29)
    rate = recurrent_flops_per_second(model, 3, 10, CPU)
    assert rate is not None
    assert rate > 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_network_without_recurrent_layers_of_ours_has_no_rate_of_them() -> None:
    model = DeepSpeech2(DeepSpeech2Config(channels=6, width=8, num_layers=2), 20, 29)
    assert recurrent_flops_per_second(model, 3, 10, CPU) is None


def test_threads_are_put_back_even_after_an_error() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before


def test_a_cpu_has_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[None] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(None))
    synchronizer(CPU)()
    assert not waits
    synchronizer(torch.device("cuda"))()
    assert len(waits) == 1
