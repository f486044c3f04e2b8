"""The contract of a variant, checked on its network at its own size, on a CPU, without data.

Legend: B utterances, T input frames, F feature bins, U output frames, V symbols.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.config import from_dict, to_dict
from bench.core.errors import UserError
from bench.data.text import BLANK
from bench.training.config import RunConfig, build_model
from bench.training.outside import OUTSIDE, in_words
from variants.cost import num_parameters
from variants.spec import AcousticModel

MAX_STEPS = 400
"""In which a variant must overfit one batch."""
LEARNT = 0.5
"""Nats a symbol."""
LEARNING_RATES = (3e-3, 3e-4)
"""Tried one after another: large networks need small ones."""
TOLERANCE = 1e-3
"""By which log-probabilities that should be equal may differ, in nats: rounding."""
_LENGTHS = (1, 2, 7, 23, 40, 61, 118)
_STREAMED = (1, 23, 61)


@dataclass(frozen=True)
class Row:
    """One rule, and whether the variant obeys it."""

    rule: str
    holds: bool | None
    """None: not checked, since an earlier rule is broken."""
    found: str
    """What was measured, or what is wrong, in words."""


class _BrokenRule(Exception):  # noqa: N818  # a finding, not an error of the program
    """What is wrong, in words."""


def check_contract(config: RunConfig) -> tuple[Row, ...]:
    """A row for each rule. After a broken one only what does not rest on it is checked."""
    rows, model = [], None
    try:
        model = build_model(config)
        rows.append(Row("builds", True, f"{num_parameters(model):,} parameters"))
    except UserError as error:
        rows.append(Row("builds", False, str(error)))
    runs = model is not None
    for rule, check in _CHECKS.items():
        if not (runs or rule == "JSON"):
            rows.append(Row(rule, None, "not checked"))
            continue
        holds, found = _checked(check, config)
        rows.append(Row(rule, holds, found))
        runs = runs and (holds or rule != "lengths")
    return tuple(rows)


def _checked(check: Callable[[RunConfig], str], config: RunConfig) -> tuple[bool, str]:
    try:
        with torch.random.fork_rng(devices=[]):
            return True, check(config)
    except _BrokenRule as broken:
        return False, str(broken)
    except Exception as error:
        source = OUTSIDE.get(config.variant)
        if source is None:
            raise
        return False, f"the network raised {in_words(error, source.path)}"


def _json(config: RunConfig) -> str:
    back = from_dict(type(config.model), to_dict(config.model))
    if back != config.model:
        raise _BrokenRule(f"the config comes back from JSON as {back}")
    return f"{len(to_dict(config.model))} fields come back as they were"


def _lengths(config: RunConfig) -> str:
    model = build_model(config).eval()
    told = model.output_lengths(torch.tensor(_LENGTHS))
    if told.dtype != torch.int64 or int(told.min()) < 0:
        raise _BrokenRule(f"output_lengths must return int64 from 0 on, got {told.dtype}, {told}")
    if (told.diff() < 0).any():
        raise _BrokenRule(f"more frames must not give fewer output frames, got {told.tolist()}")
    if int(told[-1]) < 1:
        raise _BrokenRule(f"{_LENGTHS[-1]} frames must give an output frame, got none")
    for num_frames, expected in zip(_LENGTHS, told.tolist(), strict=True):
        log_probs_BUV, out_lens_B = _run(model, *_batch(config, num_frames))
        if out_lens_B.tolist() != [expected] or out_lens_B.dtype != torch.int64:
            raise _BrokenRule(
                f"forward must return the lengths of output_lengths, got {out_lens_B.tolist()} "
                f"({out_lens_B.dtype}) in place of [{expected}] for {num_frames} frames"
            )
        if log_probs_BUV.shape[1] < expected:
            raise _BrokenRule(
                f"{expected} output frames must be there, got {log_probs_BUV.shape[1]} for "
                f"{num_frames} frames"
            )
    rate = config.features.frames_per_second * int(told[-1]) / _LENGTHS[-1]
    return f"about {rate:.0f} output frames a second"


def _log_probabilities(config: RunConfig) -> str:
    log_probs_BUV, out_lens_B = _run(build_model(config).eval(), *_batch(config, 61, 40))
    shape = (2, int(out_lens_B.max()), config.units.num_symbols)
    if tuple(log_probs_BUV.shape) != shape or log_probs_BUV.dtype != torch.float32:
        raise _BrokenRule(
            f"forward must return float32 of shape {shape} (B, U, V), got {log_probs_BUV.dtype} of "
            f"{tuple(log_probs_BUV.shape)}"
        )
    if not log_probs_BUV.isfinite().all():
        raise _BrokenRule("log-probabilities must be finite, past each utterance's end too")
    for row, num_frames in zip(log_probs_BUV, out_lens_B.tolist(), strict=True):
        off = float((row[:num_frames].logsumexp(-1)).abs().max())
        if off > 1e-3:
            raise _BrokenRule(
                f"the probabilities of a frame must sum to 1, got {math.exp(min(off, 50)):.3g} or "
                "its inverse; end with .log_softmax(-1)"
            )
    return "normalised, finite, float32"


def _padding(config: RunConfig) -> str:
    model = _unsettled(config)
    feats_BTF, lens_B = _batch(config, 23, 61, 40, padding=7)
    garbage_BTF = feats_BTF.clone()
    for row, num_frames in enumerate(lens_B.tolist()):
        feats_BTF[row, num_frames:] = 0.0
        garbage_BTF[row, num_frames:] = 1e3
    for module in model.train().modules():
        if isinstance(getattr(module, "p", None), float):
            # Dropout, whose masks depend on the shape of the batch.
            module.p = 0.0  # type: ignore[assignment]
    trained = _seeded(model, feats_BTF[:, : int(lens_B.max())], lens_B)
    padded = _seeded(model, garbage_BTF, lens_B)
    _compare(trained, padded, lens_B, "in training (batch statistics), padding must change nothing")
    model.eval()
    together = _run(model, garbage_BTF, lens_B)
    alone = [_run(model, feats_BTF[b : b + 1, :n], lens_B[b : b + 1]) for b, n in enumerate(lens_B)]
    width = together[0].shape[1]
    filled = [F.pad(log_probs, (0, 0, 0, width - log_probs.shape[1])) for log_probs, _ in alone]
    lens = torch.cat([out_lens for _, out_lens in alone])
    text = "an utterance alone and padded inside a batch must give the same log-probabilities"
    worst = _compare(together, (torch.cat(filled), lens), lens_B, text)
    return f"alone and padded differ by {worst:.1g} at most"


def _compare(
    one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], lens_B: Tensor, rule: str
) -> float:
    """The largest difference of valid output frames.

    Raises:
        _BrokenRule: it is more than rounding.
    """
    worst = 0.0
    for row, num_out in enumerate(one[1].tolist()):
        off_UV = (one[0][row, :num_out] - other[0][row, :num_out]).abs()
        if not off_UV.numel():
            continue
        off = float(off_UV.max())
        if not off <= TOLERANCE:  # NaN is more than rounding, though no comparison says so
            frame = int(off_UV.amax(-1).argmax())
            raise _BrokenRule(
                f"{rule}, they differ by {off:.3g} at output frame {frame} of {num_out} of an "
                f"utterance of {int(lens_B[row])} frames"
            )
        worst = max(worst, off)
    return worst


def _gradients(config: RunConfig) -> str:
    # In evaluation: in training a batch norm takes what a bias before it adds away again.
    model = _unsettled(config).eval()
    log_probs_BUV, out_lens_B = model(*_batch(config, 40, 61))
    for row, num_out in zip(log_probs_BUV, out_lens_B.tolist(), strict=True):
        (row[:num_out] * torch.randn_like(row[:num_out])).sum().backward(retain_graph=True)
    for name, weight in model.named_parameters():
        if weight.grad is None or not weight.grad.any():
            raise _BrokenRule(f"every parameter must get a gradient, none reaches {name}")
        if not weight.grad.isfinite().all():
            raise _BrokenRule(f"gradients must be finite, that of {name} is not")
    return f"reach all {sum(1 for _ in model.parameters())} parameters"


def _determinism(config: RunConfig) -> str:
    found = []
    for _ in range(2):
        model = build_model(config)
        found.append((model.state_dict(), _seeded(model.train(), *_batch(config, 40, 61))[0]))
    (weights, log_probs), (other_weights, other_log_probs) = found
    for name, weight in weights.items():
        if not torch.equal(weight, other_weights[name]):
            raise _BrokenRule(f"one seed must give the same initial weights, {name} differs")
    if not torch.equal(log_probs, other_log_probs):
        raise _BrokenRule(
            "one seed must give the same outputs, they differ; draw from torch's generator only"
        )
    return "same seed, same weights and outputs"


def _overfits(config: RunConfig) -> str:
    best = math.inf
    for learning_rate in LEARNING_RATES:
        for step, loss in enumerate(_losses(config, learning_rate)):
            best = min(best, loss)
            if loss < LEARNT:
                return f"loss {loss:.2f} after {step} steps"
    raise _BrokenRule(
        f"one batch must be learnt in {MAX_STEPS} steps to a loss below {LEARNT} nats a symbol, "
        f"the lowest was {best:.2f}"
    )


def _losses(config: RunConfig, learning_rate: float) -> Iterator[float]:
    """The loss of two utterances before each step of training on them; ends if it is not finite."""
    # Each label is a sound: the same 20 frames of noise wherever it stands, so there is something
    # to learn. Labels of the first utterance, of 120 frames:
    #
    #     frames    0  5       25  35      55  65      85  95     115
    #               .. [ 3 ... ]   [ 1 ... ]   [ 4 ... ]   [ 5 ... ]
    targets_BL, target_lens_B = torch.tensor([[3, 1, 4, 5], [2, 7, 0, 0]]), torch.tensor([4, 2])
    feats_BTF, lens_B = _batch(config, 120, 60)
    for row, num_labels in enumerate(target_lens_B.tolist()):
        for place, label in enumerate(targets_BL[row, :num_labels].tolist()):
            sound_F = _batch(config, label + 1)[0][0, label]  # a spectrum of its own for each label
            feats_BTF[row, 30 * place + 5 : 30 * place + 25] += 3 * sound_F
    model = build_model(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for _ in range(MAX_STEPS):
        log_probs_BUV, out_lens_B = model.train()(feats_BTF, lens_B)
        log_probs_UBV = log_probs_BUV.transpose(0, 1)
        loss = F.ctc_loss(log_probs_UBV, targets_BL, out_lens_B, target_lens_B, blank=BLANK)
        if not loss.isfinite():
            return
        yield loss.item()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


def _streaming(config: RunConfig) -> str:
    model = _unsettled(config).eval()
    if model.cannot_stream is not None:
        return f"not claimed: {model.cannot_stream}"
    for num_frames in _STREAMED:
        feats_BTF, lens_B = _batch(config, num_frames)
        whole = _run(model, feats_BTF, lens_B)
        # Frame by frame, in chunks that end within a stride, and in one chunk.
        for size in (1, 5, num_frames):
            stream, parts = model.stream(), []
            for at in range(0, num_frames, size):
                is_last = at + size >= num_frames
                parts.append(stream.push(feats_BTF[0, at : at + size], is_last=is_last).detach())
            online = torch.cat(parts)
            if len(online) != int(whole[1]):
                raise _BrokenRule(
                    f"a stream must give as many output frames as the whole utterance, got "
                    f"{len(online)} of {int(whole[1])} in chunks of {size} of {num_frames} frames"
                )
            rule = f"a stream must give the numbers of the whole utterance; in chunks of {size}"
            _compare((online[None], whole[1]), whole, lens_B, rule)
    return f"chunks of any size give the whole; waits for {model.stream().look_ahead_frames} frames"


def _batch(config: RunConfig, *lens: int, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Random features [B, T, F] and their lengths, the same at each call."""
    generator = torch.Generator().manual_seed(1)
    shape = (len(lens), max(lens) + padding, config.features.num_bins)
    return torch.randn(shape, generator=generator), torch.tensor(lens)


def _run(model: AcousticModel, feats_BTF: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        log_probs_BUV, out_lens_B = model(feats_BTF, lens_B)
    return log_probs_BUV, out_lens_B


def _seeded(model: AcousticModel, feats_BTF: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return _run(model, feats_BTF, lens_B)


def _unsettled(config: RunConfig) -> AcousticModel:
    """The network after a few steps, so that statistics and biases are not those of the start."""
    model = build_model(config).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        log_probs_BUV, _ = model(*_batch(config, 61, 40))
        optimizer.zero_grad()
        (log_probs_BUV * torch.randn_like(log_probs_BUV)).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    return model


_CHECKS: dict[str, Callable[[RunConfig], str]] = {
    "JSON": _json,
    "lengths": _lengths,
    "log-probabilities": _log_probabilities,
    "padding": _padding,
    "gradients": _gradients,
    "determinism": _determinism,
    "streaming": _streaming,
    "overfits a batch": _overfits,
}
