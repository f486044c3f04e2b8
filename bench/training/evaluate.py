"""Evaluation: losses, texts and error rates of a dataset, the text of one recording.

Legend: B utterances, T frames, F feature bins, U output frames, V symbols.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.data.batches import (
    Batch,
    BatchConfig,
    Dataset,
    copied,
    evaluation_order,
    in_background,
)
from bench.data.features import compute
from bench.data.text import BLANK, normalize
from bench.decoding import Decoder, begin, greedy
from bench.scoring import Totals, UtteranceScore, score, totals
from bench.training.checkpoint import TrainedNetwork
from bench.training.ctc import ctc_losses
from bench.training.device import autocast, default_precision, exact_float32
from bench.training.memory import Parts
from variants.ops.padding import frame_mask
from variants.spec import AcousticModel


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The results of a network on a dataset."""

    loss: float
    """CTC loss per symbol, mean over the utterances that have as many output frames as CTC needs;
    NaN if none has. The error rates are over all utterances."""
    blank_share: float
    """Share of the output frames whose best symbol is the blank; NaN if there are none."""
    empty_share: float
    """Share of the utterances whose transcript is empty. Near 1, with `blank_share` near 1, the
    network outputs blanks only, as most networks do in their first epochs."""
    scores: list[UtteranceScore]
    """In the order of the dataset."""
    totals: Totals


@torch.inference_mode()
@exact_float32()
def evaluate(
    model: AcousticModel,
    dataset: Dataset,
    batches: BatchConfig,
    device: torch.device,
    decoder: Decoder = greedy,
    precision: torch.dtype | None = None,
) -> Evaluation:
    """Losses, texts and scores of `dataset`, which holds at least one utterance.

    The network is on `device`; it is left in evaluation mode. `precision` is the device's default
    where none is given.
    """
    model.eval()
    hyps = [""] * len(dataset)
    losses: list[Tensor] = []
    num_blanks = torch.zeros((), dtype=torch.int64, device=device)
    num_frames = 0
    in_parts = Parts(device)
    precision = precision or default_precision(device)
    collate = partial(_collated, dataset, device)
    feasible: list[Tensor] = []
    before = partial(_spell, hyps, [], [])  # there is none before the first
    # The host spells the texts of a batch while the device computes the next one, and waits for the
    # device once a batch.
    for indices, host in in_background(collate, evaluation_order(dataset, batches)):
        out_lens_B = model.output_lengths(host.feat_lens_B)
        decode = partial(begin, decoder, units=dataset.units)
        recognise = partial(_recognise, model, host, out_lens_B, decode, device, precision)
        parts = in_parts(recognise, len(indices))
        for part_losses, part_blanks, _ in parts:
            losses.append(part_losses)
            num_blanks += part_blanks
        feasible.append(out_lens_B >= host.min_ctc_frames_B)
        num_frames += int(out_lens_B.sum())
        before()
        before = partial(_spell, hyps, indices, [spell for _, _, spell in parts])
    before()
    scores = score_texts(dataset, hyps)
    return Evaluation(
        # An utterance with fewer frames than its text needs has an infinite loss, and is left out.
        loss=torch.cat(losses).cpu()[torch.cat(feasible)].mean().item(),
        blank_share=num_blanks.item() / num_frames if num_frames else math.nan,
        empty_share=sum(not hyp for hyp in hyps) / len(hyps),
        scores=scores,
        totals=totals(scores),
    )


def _collated(
    dataset: Dataset, device: torch.device, indices: list[int]
) -> tuple[list[int], Batch]:
    """The utterances `indices` on the host: for CUDA as float16 in pinned memory."""
    on_cuda = device.type == "cuda"
    batch = dataset.collate(indices, as_stored=on_cuda)
    return indices, batch.pinned() if on_cuda else batch


def _spell(hyps: list[str], indices: list[int], parts: list[Callable[[], list[str]]]) -> None:
    """Write the texts of a batch to their places in `hyps`."""
    texts = [text for spell in parts for text in spell()]
    for index, hyp in zip(indices, texts, strict=True):
        hyps[index] = hyp


@torch.inference_mode()
@exact_float32()
def log_probabilities(
    model: AcousticModel, dataset: Dataset, batches: BatchConfig, device: torch.device
) -> list[Tensor]:
    """The network's log-probabilities [U, V], float32 on the host, of each utterance of `dataset`,
    for decoding them several times; as `evaluate` computes them."""
    model.eval()
    found: dict[int, Tensor] = {}
    in_parts = Parts(device)
    collate = partial(_collated, dataset, device)
    for indices, host in in_background(collate, evaluation_order(dataset, batches)):
        parts = in_parts(partial(_outputs, model, host, device), len(indices))
        found |= zip(indices, (row_UV for part in parts for row_UV in part), strict=True)
    return [found[index] for index in range(len(dataset))]


def _outputs(model: AcousticModel, host: Batch, device: torch.device, rows: slice) -> list[Tensor]:
    """The log-probabilities [U, V], float32 on the host, of `rows` of a batch."""
    batch = host.rows(rows).to(device)
    with autocast(device, default_precision(device)):
        log_probs_BUV, out_lens_B = model(batch.feats_BTF.float(), batch.feat_lens_B)
    both = zip(log_probs_BUV.float().cpu(), out_lens_B.tolist(), strict=True)
    return [row_UV[:length].clone() for row_UV, length in both]


def score_texts(dataset: Dataset, hyps: Sequence[str]) -> list[UtteranceScore]:
    """The scores of `hyps`, one for each utterance of `dataset`."""
    utterances = dataset.utterances
    return score(
        ids=[u.id for u in utterances],
        refs=[u.text for u in utterances],
        hyps=hyps,
        speakers=[u.speaker for u in utterances],
        seconds=[u.seconds for u in utterances],
    )


def _recognise(
    model: AcousticModel,
    host: Batch,
    out_lens_B: Tensor,
    decode: Callable[..., Callable[[], list[str]]],
    device: torch.device,
    precision: torch.dtype,
    rows: slice,
) -> tuple[Tensor, Tensor, Callable[[], list[str]]]:
    """For `rows` of a batch on the host: the losses, the number of output frames whose best symbol
    is the blank, and what gives the texts; without waiting for the device."""
    host = host.rows(rows)
    batch, out_lens_B = host.to(device), copied(out_lens_B[rows], device)
    with autocast(device, precision):
        log_probs_BUV, _ = model(batch.feats_BTF.float(), batch.feat_lens_B)
    losses_B = ctc_losses(log_probs_BUV, out_lens_B, batch.targets, batch.target_lens_B)
    inside_BU = frame_mask(out_lens_B, log_probs_BUV.shape[1])
    num_blanks = ((log_probs_BUV.argmax(dim=-1) == BLANK) & inside_BU).sum()
    return losses_B, num_blanks, decode(log_probs_BUV, out_lens_B)


@torch.inference_mode()
@exact_float32()
def transcribe(
    trained: TrainedNetwork,
    waveform_N: Tensor,
    device: torch.device,
    decoder: Decoder = greedy,
) -> str:
    """The text of one utterance, normalised as it is scored. Its samples have the rate of
    ``trained.config.features``; the network is on `device`."""
    feats_TF = compute(waveform_N, trained.config.features, trained.stats)
    feat_lens_B = torch.tensor([len(feats_TF)], device=device)
    with autocast(device, default_precision(device)):
        log_probs_BUV, out_lens_B = trained.network(feats_TF[None].to(device), feat_lens_B)
    (text,) = decoder(log_probs_BUV, out_lens_B, trained.units)
    return normalize(text)
