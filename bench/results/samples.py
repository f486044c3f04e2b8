"""A few test utterances to be heard: their sound, their features, and when each system emitted the
letters of the text that was scored.

Legend: T frames, F feature bins, U output frames, V symbols.
"""

import io
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
import torchaudio
from torch import Tensor

from bench.core.errors import UserError
from bench.data.audio import read_utterance
from bench.data.batches import min_ctc_frames
from bench.data.features import compute
from bench.data.text import BLANK, decode, encode
from bench.data.utterance import Corpus, Utterance
from bench.runs.record import TRAINED
from bench.training.checkpoint import load_model, load_stats
from reports.input import Letter, Sample
from variants.spec import AcousticModel

NUM_SAMPLES = 6
MAX_SECONDS = 30.0
"""A longer utterance is not embedded: the page is to be mailed."""

_logger = logging.getLogger("bench.results")


def gather_samples(
    folder: Path, corpus: Corpus, runs: pd.DataFrame, scored: pd.DataFrame
) -> tuple[Sample, ...]:
    """What the report lets its reader hear of the study in `folder`.

    Each system is heard through the confirm run with the lowest valid WER, and the text is the one
    that was scored for it. A recording or a checkpoint that is gone costs a warning: then its
    sample, or its letters, are missing.
    """
    networks = _checkpoints(folder, runs)
    utterances = {u.id: u for u in corpus.split("test") if u.seconds <= MAX_SECONDS}
    made = []
    for id in choose(scored[scored["id"].isin(utterances)]):
        try:
            own = scored[scored["id"] == id]
            heard = dict(zip(own["run"].astype(str), own["hyp"].astype(str), strict=True))
            made.append(_sample(utterances[id], networks, heard))
        except UserError as error:
            _logger.warning("report: %s cannot be heard: %s", id, error)
    return tuple(made)


def choose(scored: pd.DataFrame) -> list[str]:
    """The ids of NUM_SAMPLES utterances: half of them those about which systems differ most, the
    others the worst for all; of equals the first by id."""
    if scored.empty:
        return []
    kinds = ["substitutions", "deletions", "insertions"]
    rates = scored[kinds].sum(axis=1) / scored["num_ref_words"]
    table = rates.groupby([scored["id"], scored["variant"]]).mean().unstack()
    spread = (table.max(axis=1) - table.min(axis=1)).sort_values(ascending=False, kind="stable")
    worst = table.mean(axis=1).sort_values(ascending=False, kind="stable")
    ids = dict.fromkeys([*spread.index[: NUM_SAMPLES // 2], *worst.index])
    return [str(id) for id in ids][:NUM_SAMPLES]


def _checkpoints(folder: Path, runs: pd.DataFrame) -> list[tuple[str, str, Path]]:
    """Each system, its best run, and that run's checkpoint if it is still there."""
    ended = runs[(runs["kind"] == "confirm") & runs["state"].isin(TRAINED)]
    ranked = ended.sort_values(["valid_wer", "run"], kind="stable").drop_duplicates("variant")
    found = []
    for system, run in zip(ranked["variant"], ranked["run"], strict=True):
        path = folder / "runs" / str(run) / "checkpoints" / "best.pt"
        if path.exists():
            found.append((str(system), str(run), path))
        else:
            _logger.warning("report: %s is gone, so no letters of %s are shown", path, system)
    return found


def _sample(
    utterance: Utterance, networks: list[tuple[str, str, Path]], scored: dict[str, str]
) -> Sample:
    """`utterance` as the page plays it; `scored` has the text of each run."""
    letters, feats_TF, waveform_N, rate = {}, torch.zeros(1, 1), torch.zeros(0), 16_000
    for system, run, path in networks:
        model, config = load_model(path, torch.device("cpu"))
        rate = config.features.sample_rate_hz
        waveform_N = read_utterance(utterance, rate)
        feats_TF = compute(waveform_N, config.features, load_stats(path))
        if run in scored:
            letters[system] = emissions(model, feats_TF, scored[run], len(waveform_N) / rate)
    if not networks:
        waveform_N = read_utterance(utterance, rate)
    sound = io.BytesIO()
    soundfile.write(sound, waveform_N.numpy(), rate, format="FLAC", subtype="PCM_16")
    return Sample(
        id=utterance.id,
        speaker=utterance.speaker,
        ref=utterance.text,
        seconds=len(waveform_N) / rate,
        flac=sound.getvalue(),
        spectrogram=_grey(feats_TF),
        letters=letters,
    )


@torch.inference_mode()
def emissions(
    model: AcousticModel, feats_TF: Tensor, text: str, seconds: float
) -> tuple[Letter, ...]:
    """The symbols of `text`, each where it begins on the likeliest path that spells it (Graves et
    al. 2006, section 3.2).

    A text that was scored may come from another device or precision than this one, which would
    decode another text now and then; it is aligned here, not decoded again.

    Args:
        model: on the CPU, in evaluation mode.
        feats_TF: of one utterance.
        text: what was decoded, at most as long as the output frames allow.
        seconds: how long it lasts; output frames divide it evenly.
    """
    if not text:
        return ()
    log_probs_BUV, out_lens_B = model(feats_TF[None], torch.tensor([len(feats_TF)]))
    num_frames = int(out_lens_B[0])
    targets = encode(text)
    if min_ctc_frames(text) > num_frames:
        raise UserError(f"the text that was scored needs more than {num_frames} output frames")
    log_probs_BUV = log_probs_BUV[:, :num_frames].float()
    path_BU, values_BU = torchaudio.functional.forced_align(
        log_probs_BUV, torch.tensor([targets], dtype=torch.int32), blank=BLANK
    )
    found, before = [], BLANK
    for frame, (value, symbol) in enumerate(
        zip(values_BU[0].tolist(), path_BU[0].tolist(), strict=True)
    ):
        if symbol not in (BLANK, before):
            at = (frame + 0.5) / num_frames * seconds
            found.append(Letter(decode([symbol]), round(at, 3), round(float(np.exp(value)), 3)))
        before = symbol
    return tuple(found)


def _grey(feats_TF: Tensor) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    """Features as grey levels (F, T), the lowest bin last; 2nd to 99.5th percentile."""
    levels = feats_TF.numpy().T[::-1]
    low, high = np.percentile(levels, [2, 99.5])
    grey: np.ndarray[tuple[int, int], np.dtype[np.uint8]] = np.clip(
        255 * (levels - low) / max(high - low, 1e-6), 0, 255
    ).astype(np.uint8)
    return grey
