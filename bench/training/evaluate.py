"""Evaluation: losses, texts and error rates of a dataset, the text of one recording.

Legend: B utterances, T frames, F feature bins, U output frames, V symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.data.batches import Batch, BatchConfig, Dataset, collated, evaluation_order
from bench.data.features import CorpusStats, compute
from bench.data.text import BLANK, normalize
from bench.decoding import Decoder, greedy
from bench.scoring import Totals, UtteranceScore, score, totals
from bench.training.config import RunConfig
from bench.training.ctc import ctc_losses
from bench.training.device import autocast, default_precision, exact_float32
from bench.training.memory import Parts
from variants.spec import AcousticModel


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The results of a network on a dataset."""

    loss: float
    """CTC loss per symbol, mean over the utterances that have as many output frames as CTC needs;
    NaN if none has. The error rates are over all utterances."""
    blank_share: float
    """Share of the output frames whose best symbol is the blank."""
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
    for indices, host in collated(dataset, evaluation_order(dataset, batches)):
        out_lens_B = model.output_lengths(host.feat_lens_B)
        recognise = partial(_recognise, model, host, out_lens_B, decoder, device, precision)
        parts = in_parts(recognise, len(indices))
        for part_losses, part_blanks, _ in parts:
            losses.append(part_losses)
            num_blanks += part_blanks
        num_frames += int(out_lens_B.sum())
        texts = [text for _, _, part_texts in parts for text in part_texts]
        for index, hyp in zip(indices, texts, strict=True):
            hyps[index] = hyp
    scores = score_texts(dataset, hyps)
    return Evaluation(
        loss=torch.cat(losses).mean().item(),
        blank_share=num_blanks.item() / num_frames,
        empty_share=sum(not hyp for hyp in hyps) / len(hyps),
        scores=scores,
        totals=totals(scores),
    )


@torch.inference_mode()
@exact_float32()
def log_probabilities(
    model: AcousticModel, dataset: Dataset, batches: BatchConfig, device: torch.device
) -> list[Tensor]:
    """The network's log-probabilities [U, V], float32 on the host, of each utterance of `dataset`,
    for decoding them several times; as `evaluate` computes them."""
    model.eval()
    found: dict[int, Tensor] = {}
    for indices, host in collated(dataset, evaluation_order(dataset, batches)):
        batch = host.to(device)
        with autocast(device, default_precision(device)):
            log_probs_BUV, out_lens_B = model(batch.feats_BTF, batch.feat_lens_B)
        rows = log_probs_BUV.float().cpu()
        for index, row_UV, length in zip(indices, rows, out_lens_B.tolist(), strict=True):
            found[index] = row_UV[:length].clone()
    return [found[index] for index in range(len(dataset))]


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
    decoder: Decoder,
    device: torch.device,
    precision: torch.dtype | None,
    rows: slice,
) -> tuple[Tensor, Tensor, list[str]]:
    """For `rows` of a batch on the host: the losses of those with as many output frames as CTC
    needs, the number of output frames whose best symbol is the blank, and the texts."""
    host, out_lens_B = host.rows(rows), out_lens_B[rows]
    batch = host.to(device)
    with autocast(device, precision or default_precision(device)):
        log_probs_BUV, _ = model(batch.feats_BTF, batch.feat_lens_B)
    losses_B = ctc_losses(log_probs_BUV, out_lens_B, batch.targets, host.target_lens_B)
    frame_U = torch.arange(log_probs_BUV.shape[1], device=device)
    inside_BU = frame_U < out_lens_B.to(device)[:, None]
    num_blanks = ((log_probs_BUV.argmax(dim=-1) == BLANK) & inside_BU).sum()
    feasible_B = (out_lens_B >= host.min_ctc_frames_B).to(losses_B.device)
    return losses_B[feasible_B], num_blanks, decoder(log_probs_BUV, out_lens_B)


@torch.inference_mode()
@exact_float32()
def transcribe_feats(
    model: AcousticModel, feats_TF: Tensor, device: torch.device, decoder: Decoder = greedy
) -> str:
    """The text of one utterance, normalised as it is scored; the network is on `device`, in
    evaluation mode."""
    feat_lens_B = torch.tensor([len(feats_TF)], device=device)
    with autocast(device, default_precision(device)):
        log_probs_BUV, out_lens_B = model(feats_TF[None].to(device), feat_lens_B)
    (text,) = decoder(log_probs_BUV, out_lens_B)
    return normalize(text)


def transcribe(
    model: AcousticModel,
    config: RunConfig,
    waveform_N: Tensor,
    device: torch.device,
    stats: CorpusStats | None = None,
    decoder: Decoder = greedy,
) -> str:
    """The text of one utterance.

    Args:
        model: on `device`, in evaluation mode.
        config: what the network was trained with.
        waveform_N: at the rate of ``config.features``, as `bench.data.audio.read_audio` gives it.
        device: where to compute.
        stats: those of the checkpoint, where ``features.normalize`` is "corpus".
        decoder: one of bench.decoding.
    """
    return transcribe_feats(model, compute(waveform_N, config.features, stats), device, decoder)
