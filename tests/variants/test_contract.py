"""The contract of the variants, tested for every spec at a small size."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.config import from_dict, to_dict, updated
from bench.training.device import exact_float32
from variants import VARIANTS
from variants.cost import num_parameters
from variants.ops.normalization import MaskedBatchNorm
from variants.ops.padding import frame_mask
from variants.spec import BLANK, AcousticModel, VariantSpec

NUM_SYMBOLS = 29
EVERY = pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS)
CUDA = pytest.param("cuda", marks=pytest.mark.cuda)
DEVICES = pytest.mark.parametrize("device", ["cpu", CUDA])

PARAMETERS = {
    "ds-rnn": 748_573,
    "ds-rnn-deep": 1_012_765,
    "ds-rnn-wide": 1_807_645,
    "ds-gru": 1_538_077,
    "ds-gru-deep": 2_328_605,
    "ds-gru-wide": 4_697_373,
    "ds-gru-lookahead": 1_540_893,
    "ds-lstm": 1_932_829,
    "ds-lstm-deep": 2_986_525,
    "ds-lstm-wide": 6_142_237,
    "ds-birnn": 820_829,
    "ds-birnn-deep": 1_118_045,
    "ds-birnn-wide": 2_034_077,
    "ds-bigru": 1_759_325,
    "ds-bigru-deep": 2_649_437,
    "ds-bigru-wide": 5_385_629,
    "ds-bilstm": 2_228_573,
    "ds-bilstm-deep": 3_415_133,
    "ds-bilstm-wide": 7_061_405,
    "ds-mingru": 353_821 + 3 * 2 * (256 + 1) * 256,  # 353,821 beside the cells
    "ds-bimingru": 351_581 + 2 * 2 * (257 + 193 + 193) * 192,
    "ds-minlstm": 353_821 + 3 * 3 * (256 + 1) * 256,
    "ds-biminlstm": 351_581 + 2 * 3 * (257 + 193 + 193) * 192,
    "ds-sru": 353_821 + 3 * (3 * 256 + 4) * 256,
    "ds-bisru": 351_581 + 2 * (4 * 256 + 3 * 192 + 3 * 192 + 3 * 4) * 192,
    "ds-qrnn": 353_821 + 3 * 3 * (2 * 256 + 1) * 256,
    "ds-ligru": 353_821 + 3 * 2 * (2 * 256 + 2) * 256,
    "ds-biligru": 351_581 + 2 * 2 * (256 + 192 + 192 + 3 * (192 + 2)) * 192,
    "ds-biqrnn": 351_581 + 2 * 3 * (513 + 385 + 385) * 192,
    # As published, where torch's second bias of each recurrent layer is counted apart.
    "kur-speech": 19_818_029 + 3 * 3 * 1000,
    "deepspeech-pytorch": 86_618_400,
    "deepspeech-pytorch-v1": 38_067_968,
    "mozilla-deepspeech": 47_224_861 + 4 * 2048,
    "deepspeech1": 35_700_765,
    "deepspeech2": 38_370_589,
    "deepspeech2-online": 38_436_509,
}

LENGTHS: dict[str, Callable[[int], int]] = {
    "ds": lambda t: (t + 10 - 11) // 3 + 1,
    "kur-speech": lambda t: (t - 11) // 2 + 1,
    "deepspeech-pytorch": lambda t: (t + 10 - 11) // 2 + 1,
    "deepspeech-pytorch-v1": lambda t: (t + 20 - 11) // 2 + 1 - 10,
    "mozilla-deepspeech": lambda t: t,
    "deepspeech1": lambda t: t,
    "deepspeech2": lambda t: (t + 10 - 11) // 2 + 1,
    "deepspeech2-online": lambda t: (t + 10 - 11) // 2 + 1,
}

OTHER_VALUES: dict[str, tuple[Any, ...]] = {
    "backward_chunk_frames": (4,),
    "backward_context_frames": (3,),
    "blank_bias": (0.0,),
    "bias": (False, True),
    "cell": ("gru", "lstm", "relu_rnn"),
    "channels": (12,),
    "context_frames": (3,),
    "convs": (((8, 9, 3),), ((8, 41, 11, 2, 2), (8, 21, 7, 2, 1))),
    "dense_widths": ((8,),),
    "directions": ("forward", "sum"),
    "dropout": (0.5,),
    "kernel_frames": (7,),
    "lookahead_frames": (3,),
    "norm": ("none",),
    "num_layers": (2,),
    "paddings": (((20, 3), (10, 5)),),
    "relu_clip": (0.05,),
    "stride_frames": (3,),
    "width": (12,),
}

NEEDED: dict[str, dict[str, Any]] = {
    "backward_chunk_frames": {"directions": "sum", "cell": "gru"},  # a light GRU has no chunks
    "backward_context_frames": {"directions": "sum", "cell": "gru", "backward_chunk_frames": 4},
}
"""Values of other fields without which a field may not be set."""

REFUSED: dict[str, tuple[Any, ...]] = {
    "backward_chunk_frames": (-1, 4),
    "backward_context_frames": (-1, 4),
    "blank_bias": (-1.0, 21.0, math.nan),
    "cell": ("transformer",),
    "channels": (0,),
    "context_frames": (-1,),
    "convs": ((), ((8, 11),), ((8, 11, 0),), ((8, 11, 3), (8, 41, 11, 2, 2))),
    "dense_widths": ((0,),),
    "directions": ("backward",),
    "dropout": (-0.1, 1.0, math.nan),
    "kernel_frames": (0,),
    "lookahead_frames": (-1,),
    "norm": ("instance",),
    "num_layers": (0,),
    "paddings": ((), ((20, 5),), ((20, -1), (10, 5)), ((20,), (10,))),
    "relu_clip": (0.0, math.nan),
    "stride_frames": (0,),
    "width": (0,),
}


def small(config: Any, **changes: Any) -> Any:
    """The config with few channels and units, otherwise unchanged."""
    scaled: dict[str, Any] = {"width": 16}
    if hasattr(config, "channels"):
        scaled["channels"] = 16
    if hasattr(config, "convs"):
        scaled["convs"] = tuple((8, *row[1:]) for row in config.convs)
    return dataclasses.replace(config, **(scaled | changes))


def build(spec: VariantSpec, config: Any = None) -> AcousticModel:
    torch.manual_seed(0)
    return spec.build(config or small(spec.config), spec.features["num_bins"], NUM_SYMBOLS)


def batch(spec: VariantSpec, *lens: int, padding: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (len(lens), max(lens) + padding, spec.features["num_bins"])
    return torch.randn(shape, generator=generator), torch.tensor(lens)


def unsettle(model: AcousticModel) -> AcousticModel:
    """`model` in evaluation mode, with running statistics and biases as after some training."""
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, MaskedBatchNorm):
            module.running_mean.normal_(0.0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            torch.nn.init.normal_(module.bias, 0.0, 0.3, generator=generator)
    return model.eval()


@EVERY
def test_output_lengths_obey_the_formula_and_are_those_of_forward(spec: VariantSpec) -> None:
    model, lens = build(spec).eval(), torch.arange(1, 400)
    formula = LENGTHS.get(spec.name) or LENGTHS["ds"]
    assert model.output_lengths(lens).tolist() == [max(0, formula(t)) for t in lens.tolist()]
    assert model.output_lengths(lens).dtype == torch.int64
    with torch.no_grad():
        for num_frames in (1, 2, 10, 11, 12, 13, 14, 29, 30):
            log_probs, out_lens = model(*batch(spec, num_frames))
            expected = max(0, formula(num_frames))
            assert out_lens.tolist() == [expected]
            assert log_probs.shape[1] == expected or expected == 0


@EVERY
@pytest.mark.cuda
@pytest.mark.parametrize("width", [16, 128, 320, 1000])
@exact_float32()
def test_cuda_computes_what_the_cpu_does(spec: VariantSpec, width: int) -> None:
    """At widths for which cuDNN and Triton take each of their algorithms: log-probabilities, and
    gradients of all weights, equal up to float32 rounding."""
    found = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        model, (feats, lens) = (
            unsettle(build(spec, small(spec.config, width=width))).to(device),
            batch(spec, 40, 61),
        )
        log_probs, out_lens = model(feats.to(device), lens.to(device))
        mask = frame_mask(out_lens, log_probs.shape[1])
        weights = torch.randn(log_probs.shape, generator=torch.Generator().manual_seed(3))
        (log_probs[mask] * weights.to(device)[mask]).sum().backward()
        grads = {name: parameter.grad for name, parameter in model.named_parameters()}
        found.append({"log_probs": log_probs.detach()[mask]} | grads)
    here, there = found
    for name, expected in here.items():
        assert expected is not None
        scale = float(expected.abs().max())
        torch.testing.assert_close(there[name].cpu(), expected, atol=1e-4 * scale, rtol=1e-3)


@EVERY
@DEVICES
@exact_float32()
def test_padding_changes_nothing_whatever_it_holds(spec: VariantSpec, device: str) -> None:
    model, (feats, lens) = unsettle(build(spec)).to(device), batch(spec, 23, 61, 40, padding=7)
    padding = ~frame_mask(lens, feats.shape[1])
    feats[padding] = torch.tensor([1e3, math.nan, -1e3]).repeat(99)[: int(padding.sum()), None]
    feats, lens = feats.to(device), lens.to(device)
    with torch.no_grad():
        together, out_lens = model(feats, lens)
        for row, (num_frames, num_out) in enumerate(zip(lens, out_lens, strict=True)):
            alone, _ = model(feats[row : row + 1, :num_frames], lens[row : row + 1])
            torch.testing.assert_close(
                together[row, :num_out], alone[0, :num_out], atol=1e-5, rtol=1e-4
            )
    assert together.isfinite().all()


@EVERY
@DEVICES
def test_log_probs_are_normalised_float32_under_autocast_too(
    spec: VariantSpec, device: str
) -> None:
    model, (feats, lens) = unsettle(build(spec)).to(device), batch(spec, 25, 40)
    with torch.no_grad():
        exact, out_lens = model(feats.to(device), lens.to(device))
        with torch.autocast(device, torch.bfloat16):
            rough, _ = model(feats.to(device), lens.to(device))
    valid = frame_mask(out_lens, exact.shape[1])
    for log_probs in (exact, rough):
        assert log_probs.dtype == torch.float32
        assert log_probs.shape == (2, int(out_lens.max()), NUM_SYMBOLS)
        sums = log_probs.exp().sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
    assert (rough - exact)[valid].abs().max() < 0.1
    assert exact[valid].std() > 0.05


@EVERY
@DEVICES
def test_every_parameter_gets_a_gradient_under_autocast_too(spec: VariantSpec, device: str) -> None:
    feats, lens = batch(spec, 40, 61)
    for enabled in (False, True):
        # In evaluation: in training the batch norm takes what a bias before it adds away again.
        model = unsettle(build(spec)).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=enabled):
            log_probs, out_lens = model(feats.to(device), lens.to(device))
        mask = frame_mask(out_lens, log_probs.shape[1])
        (log_probs[mask] * torch.randn_like(log_probs[mask])).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"no gradient for {name}"
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), f"all of the gradient of {name} is zero"


@EVERY
def test_every_config_key_matters(spec: VariantSpec) -> None:
    feats, lens = batch(spec, 40, 61)
    base = small(spec.config)

    def effect(config: Any) -> tuple[dict[str, torch.Size], Tensor]:
        model = build(spec, config).train()
        log_probs, _ = model(feats * 3, lens)
        return {name: weight.shape for name, weight in model.named_parameters()}, log_probs

    assert torch.equal(effect(base)[1], effect(base)[1])
    for field in dataclasses.fields(base):
        needed = dataclasses.replace(base, **NEEDED.get(field.name, {}))
        shapes, log_probs = effect(needed)
        other_shapes, other_log_probs = effect(with_other(needed, field.name))
        same = shapes == other_shapes and log_probs.shape == other_log_probs.shape
        assert not same or not torch.allclose(log_probs, other_log_probs), f"{field.name} is dead"


def with_other(config: Any, name: str) -> Any:
    """`config` with a different value of the field `name` that its class accepts."""
    for value in OTHER_VALUES[name]:
        if value != getattr(config, name):
            try:
                return dataclasses.replace(config, **{name: value})
            except ValueError:
                continue
    raise AssertionError(f"OTHER_VALUES has no other value for {name} of {config}")


@EVERY
def test_config_survives_json(spec: VariantSpec) -> None:
    cls = type(spec.config)
    assert from_dict(cls, to_dict(spec.config)) == spec.config
    for field in dataclasses.fields(spec.config):
        needed = dataclasses.replace(spec.config, **NEEDED.get(field.name, {}))
        other = with_other(needed, field.name)
        assert updated(needed, {field.name: to_dict(other)[field.name]}) == other
        assert hash(from_dict(cls, to_dict(other))) == hash(other)


@pytest.mark.parametrize("cls", {type(spec.config): None for spec in VARIANTS.values()})
def test_values_out_of_range_are_refused_by_name(cls: type[Any]) -> None:
    for field in dataclasses.fields(cls):
        for value in REFUSED.get(field.name, ()):
            with pytest.raises(ValueError, match=rf"^{field.name} must be .*got "):
                cls(**{field.name: value})
        assert field.name in REFUSED or field.name == "bias"


@EVERY
def test_parameter_count_is_the_published_one(spec: VariantSpec) -> None:
    with torch.device("meta"):
        model = build(spec, spec.config)
    assert num_parameters(model) == PARAMETERS[spec.name]


def test_golden_counts_name_no_other_variant() -> None:
    assert set(PARAMETERS) == set(VARIANTS)
    assert set(LENGTHS) - {"ds"} < set(VARIANTS)


def greedy(log_probs_BUV: Tensor, out_lens_B: Tensor) -> list[list[int]]:
    rows = zip(log_probs_BUV.argmax(-1), out_lens_B, strict=True)
    best = [row[:num_frames].unique_consecutive() for row, num_frames in rows]
    return [row[row != BLANK].tolist() for row in best]


@EVERY
def test_overfits_one_batch(spec: VariantSpec) -> None:
    changes = {"dropout": 0.0} if hasattr(spec.config, "dropout") else {}
    model = build(spec, small(spec.config, width=64, **changes))
    labels = [[3, 1, 4, 5], [2, 7]]
    targets, target_lens = torch.tensor([[3, 1, 4, 5], [2, 7, 0, 0]]), torch.tensor([4, 2])
    sounds, lens = torch.zeros(2, 48, dtype=torch.int64), torch.tensor([48, 24])
    for row, row_labels in enumerate(labels):
        for place, label in enumerate(row_labels):
            sounds[row, 12 * place + 2 : 12 * place + 10] = label
    feats = batch(spec, NUM_SYMBOLS)[0][0, sounds] * 2  # a spectrum of its own for each symbol
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(400):
        log_probs, out_lens = model(feats, lens)
        loss = F.ctc_loss(log_probs.transpose(0, 1), targets, out_lens, target_lens)
        if loss < 0.5 and greedy(log_probs, out_lens) == labels:
            return
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    pytest.fail(f"loss {loss:.2f}, {greedy(log_probs, out_lens)} for {labels}")
