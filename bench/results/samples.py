"""Audio samples for the report: recordings of a few test utterances, their features, and the time
at which each system emitted each letter of the scored transcript.

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
from bench.data.text import BLANK
from bench.data.units import LETTERS, Units
from bench.data.utterance import Corpus, Utterance
from bench.runs.layout import BEST
from bench.runs.state import TRAINED
from bench.training.checkpoint import load_model
from reports.columns import word_errors
from reports.input import Letter, Sample
from variants.spec import AcousticModel

NUM_SAMPLES = 6
MAX_SECONDS = 30.0
"""Longer utterances are not embedded, so that the page stays small enough to mail."""

_logger = logging.getLogger("bench.results")


def gather_samples(
    folder: Path, corpus: Corpus, runs: pd.DataFrame, scored: pd.DataFrame
) -> tuple[Sample, ...]:
    """The audio samples in the report of the study in `folder`.

    Each system is represented by its confirm run with the lowest valid WER, and the transcripts are
    the scored ones. If a recording or a checkpoint no longer exists, the sample or the letters are
    omitted, with a warning.
    """
    networks = _checkpoints(folder, runs)
    utterances = {u.id: u for u in corpus.split("test") if u.seconds <= MAX_SECONDS}
    made = []
    for id in choose(scored[scored["id"].isin(utterances)]):
        try:
            own = scored[scored["id"] == id]
            hyps = dict(zip(own["run"].astype(str), own["hyp"].astype(str), strict=True))
            made.append(_sample(utterances[id], networks, hyps))
        except UserError as error:
            _logger.warning("report: no audio sample of %s: %s", id, error)
    return tuple(made)


def choose(scored: pd.DataFrame) -> list[str]:
    """The ids of NUM_SAMPLES utterances: half of them with the largest differences between systems,
    the others with the highest mean error rate; ties are broken by id."""
    if scored.empty:
        return []
    rates = word_errors(scored) / scored["num_ref_words"]
    table = rates.groupby([scored["id"], scored["system"]]).mean().unstack()
    spread = (table.max(axis=1) - table.min(axis=1)).sort_values(ascending=False, kind="stable")
    worst = table.mean(axis=1).sort_values(ascending=False, kind="stable")
    ids = dict.fromkeys([*spread.index[: NUM_SAMPLES // 2], *worst.index])
    return [str(id) for id in ids][:NUM_SAMPLES]


def _checkpoints(folder: Path, runs: pd.DataFrame) -> list[tuple[str, str, Path]]:
    """(system, best run, checkpoint) of each system whose checkpoint still exists."""
    ended = runs[(runs["kind"] == "confirm") & runs["state"].isin(TRAINED)]
    ranked = ended.sort_values(["valid_wer", "run"], kind="stable").drop_duplicates("system")
    found = []
    for system, run in zip(ranked["system"], ranked["run"], strict=True):
        path = folder / "runs" / str(run) / BEST
        if path.exists():
            found.append((str(system), str(run), path))
        else:
            _logger.warning("report: %s does not exist, so %s has no letters", path, system)
    return found


def _sample(
    utterance: Utterance, networks: list[tuple[str, str, Path]], scored: dict[str, str]
) -> Sample:
    """The sample of `utterance`; `scored` has the transcript of each run."""
    letters, feats_TF, waveform_N, rate = {}, torch.zeros(1, 1), torch.zeros(0), 16_000
    for system, run, path in networks:
        trained = load_model(path, torch.device("cpu"))
        features = trained.config.features
        rate = features.sample_rate_hz
        waveform_N = read_utterance(utterance, rate)
        feats_TF = compute(waveform_N, features, trained.stats)
        if run in scored:
            seconds = len(waveform_N) / rate
            letters[system] = emissions(
                trained.network, feats_TF, scored[run], seconds, trained.units
            )
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
    model: AcousticModel, feats_TF: Tensor, text: str, seconds: float, units: Units = LETTERS
) -> tuple[Letter, ...]:
    """The symbols of `text`, each at its first frame on the most probable CTC path for `text`
    (Graves et al. 2006, section 3.2).

    The text is aligned, not decoded again: it was decoded on another device or in another
    precision, where the result may differ.

    Args:
        model: on the CPU, in evaluation mode.
        feats_TF: of one utterance.
        text: the scored transcript.
        seconds: the utterance's duration, which the output frames divide evenly.
        units: what the symbols stand for.

    Raises:
        UserError: `text` needs more output frames than there are.
    """
    if not text:
        return ()
    log_probs_BUV, out_lens_B = model(feats_TF[None], torch.tensor([len(feats_TF)]))
    num_frames = int(out_lens_B[0])
    targets = units.encode(text)
    if min_ctc_frames(targets) > num_frames:
        raise UserError(f"the text that was scored needs more than {num_frames} output frames")
    log_probs_BUV = log_probs_BUV[:, :num_frames].float()
    path_BU, values_BU = torchaudio.functional.forced_align(
        log_probs_BUV, torch.tensor([targets], dtype=torch.int32), blank=BLANK
    )
    # A letter stands at its first frame; the most probable path for "hi":
    #
    #     frame      0  1  2  3  4  5
    #     path       -  h  h  -  i  -
    #     letters       h        i
    found, before = [], BLANK
    for frame, (value, symbol) in enumerate(
        zip(values_BU[0].tolist(), path_BU[0].tolist(), strict=True)
    ):
        if symbol not in (BLANK, before):
            at = (frame + 0.5) / num_frames * seconds
            found.append(
                Letter(units.text_of(symbol), round(at, 3), round(float(np.exp(value)), 3))
            )
        before = symbol
    return tuple(found)


def _grey(feats_TF: Tensor) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    """Features as grey levels [F, T], lowest bin last, from the 2nd to the 99.5th percentile."""
    # Percentiles, not the ends: one click would leave all else in one shade.
    levels = feats_TF.numpy().T[::-1]
    low, high = np.percentile(levels, [2, 99.5])
    grey: np.ndarray[tuple[int, int], np.dtype[np.uint8]] = np.clip(
        255 * (levels - low) / max(high - low, 1e-6), 0, 255
    ).astype(np.uint8)
    return grey
