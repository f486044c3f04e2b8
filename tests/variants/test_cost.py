"""Parameters and multiply-adds, computed by hand and by torch's FLOP counter."""

import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from variants import VARIANTS
from variants.cost import macs_per_second, num_parameters, training_macs_per_second
from variants.deepspeech import DeepSpeech, DeepSpeechConfig
from variants.deepspeech1 import DeepSpeech1, DeepSpeech1Config
from variants.deepspeech2 import DeepSpeech2, DeepSpeech2Config
from variants.spec import AcousticModel


def test_kur_s_by_hand() -> None:
    spec = VARIANTS["kur-speech"]
    with torch.device("meta"):
        model = spec.build(spec.config, 161, 29)
    per_output_frame = 161 * 1000 * 11 + 3 * 3 * (1000 + 1000) * 1000 + 1000 * 29
    assert macs_per_second(model, 161, 100.0) == 50 * per_output_frame == 990_000_000


@pytest.mark.parametrize(
    "cell, recurrent",
    [
        ("mingru", 2 * (9 + 8 + 8) * 8),
        ("minlstm", 3 * (9 + 8 + 8) * 8),
        ("qrnn", 3 * 2 * (9 + 8 + 8) * 8),
        ("sru", (4 * 9 + 3 * 8 + 3 * 8) * 8),  # the first layer projects its 9 inputs
        ("ligru", 2 * (9 + 8 + 8) * 8 + 3 * 2 * 8 * 8),
    ],
)
def test_cells_by_hand(cell: str, recurrent: int) -> None:
    config = DeepSpeechConfig(convs=((9, 5, 4),), cell=cell, width=8)  # type: ignore[arg-type]
    per_output_frame = 20 * 9 * 5 + recurrent + 8 * 29
    assert macs_per_second(DeepSpeech(config, 20, 29), 20, 100.0) == 25 * per_output_frame


def test_mozilla_s_by_hand_at_50_frames_a_second() -> None:
    spec = VARIANTS["mozilla-deepspeech"]
    with torch.device("meta"):
        model = spec.build(spec.config, 26, 29)
    per_frame = 494 * 2048 + 3 * 2048**2 + 4 * 2 * 2048**2 + 2048 * 29
    assert macs_per_second(model, 26, 50.0) == 50 * per_frame


@pytest.mark.parametrize(
    "model",
    [
        DeepSpeech(DeepSpeechConfig(convs=((4, 9, 5, 2, 2), (6, 5, 3, 2, 3)), width=8), 20, 29),
        DeepSpeech(
            DeepSpeechConfig(convs=((4, 5, 5),), cell="rnn", width=8, lookahead_frames=4), 20, 29
        ),
        DeepSpeech(
            DeepSpeechConfig(
                convs=((4, 11, 3),), directions="concat", width=8, dense_widths=(9, 7)
            ),
            20,
            29,
        ),
        DeepSpeech1(DeepSpeech1Config(width=8, stride_frames=2), 20, 29),
        DeepSpeech2(DeepSpeech2Config(channels=6, width=8, num_layers=2), 20, 29),
    ],
    ids=["conv2d", "lookahead", "concat", "deepspeech1", "deepspeech2"],
)
def test_agrees_with_torch_s_flop_counter(model: AcousticModel) -> None:
    # On the meta device, where torch's own cells run: it counts their products, not those in place.
    model = model.to("meta").eval()

    def flops(num_frames: int) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            lens_B = torch.tensor([num_frames], device="meta")
            model(torch.empty(1, num_frames, 20, device="meta"), lens_B)
        return counter.get_total_flops()

    expected = (flops(720) - flops(360)) / 2 / 3.6
    assert macs_per_second(model, 20, 100.0) == pytest.approx(expected, rel=1e-9)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = DeepSpeech(DeepSpeechConfig(width=8), 20, 29).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    macs_per_second(model, 20)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    log_probs, _ = model(torch.randn(2, 30, 20), torch.tensor([30, 20]))
    log_probs.sum().backward()
    assert model.layers[0].forward_cell.weight_hh_l0.grad is not None


# Without look-ahead: in the backward pass torch's counter counts its grouped convolution as a full
# one.
TRAINING_CONFIGS = {
    "gru": DeepSpeechConfig(width=8),
    "rnn, conv2d": DeepSpeechConfig(cell="rnn", convs=((4, 9, 5, 2, 2), (6, 5, 3, 2, 3)), width=8),
    "lstm, sum": DeepSpeechConfig(cell="lstm", convs=((4, 5, 5),), directions="sum", width=8),
    "sru, sum": DeepSpeechConfig(cell="sru", convs=((4, 5, 5),), directions="sum", width=8),
    "qrnn": DeepSpeechConfig(cell="qrnn", width=8),
    "ligru, sum": DeepSpeechConfig(cell="ligru", directions="sum", width=8),
    "gru, concat, dense": DeepSpeechConfig(directions="concat", width=8, dense_widths=(9, 7)),
}


@pytest.mark.parametrize(
    "model",
    [
        *(DeepSpeech(config, 20, 29) for config in TRAINING_CONFIGS.values()),
        DeepSpeech1(DeepSpeech1Config(width=8, stride_frames=2), 20, 29),
        DeepSpeech2(DeepSpeech2Config(channels=6, width=8, num_layers=2), 20, 29),
    ],
    ids=[*TRAINING_CONFIGS, "deepspeech1", "deepspeech2"],
)
def test_training_macs_agree_with_torch_s_flop_counter(model: AcousticModel) -> None:
    # In evaluation: batch statistics would be products with a mask, which the counter counts.
    model = model.to("meta").eval()

    def flops(num_frames: int) -> int:
        with FlopCounterMode(display=False) as counter:
            lens_B = torch.tensor([num_frames], device="meta")
            log_probs_BUV, _ = model(torch.empty(1, num_frames, 20, device="meta"), lens_B)
            log_probs_BUV.sum().backward()
        return counter.get_total_flops()

    expected = (flops(60) - flops(30)) / 2 / 0.3
    assert training_macs_per_second(model, 20, 100.0) == pytest.approx(expected, rel=1e-9)


def test_training_macs_of_kur_s_by_hand() -> None:
    spec = VARIANTS["kur-speech"]
    with torch.device("meta"):
        model = spec.build(spec.config, 161, 29)
    front_end, rest = 161 * 1000 * 11, 3 * 3 * (1000 + 1000) * 1000 + 1000 * 29
    expected = 50 * (2 * front_end + 3 * rest)
    assert training_macs_per_second(model, 161, 100.0) == pytest.approx(expected)


def test_counting_training_macs_leaves_the_model_as_it_was() -> None:
    model = DeepSpeech(DeepSpeechConfig(width=8), 20, 29).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    training_macs_per_second(model, 20, 100.0)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_counts_do_not_depend_on_the_gradient_mode() -> None:
    model = DeepSpeech(DeepSpeechConfig(width=8), 20, 29)
    expected = macs_per_second(model, 20), training_macs_per_second(model, 20, 100.0)
    with torch.no_grad():
        assert (macs_per_second(model, 20), training_macs_per_second(model, 20, 100.0)) == expected
    assert expected[0] < expected[1] < 3 * expected[0]


def test_parameters_are_the_trainable_numbers() -> None:
    model = DeepSpeech(DeepSpeechConfig(convs=((4, 5, 2),), num_layers=1, width=3), 6, 29)
    conv, gru, norms, output = 6 * 4 * 5 + 4, 3 * (4 * 3 + 3 * 3 + 6), 2 * 4 + 2 * 3, 3 * 29 + 29
    assert num_parameters(model) == conv + gru + norms + output


def test_the_whole_table_is_counted_in_seconds() -> None:
    begin = time.process_time()
    for spec in VARIANTS.values():
        with torch.device("meta"):
            model = spec.build(spec.config, spec.features["num_bins"], 29)
        assert 10e6 < macs_per_second(model, spec.features["num_bins"]) < 10e9
    assert time.process_time() - begin < 10
