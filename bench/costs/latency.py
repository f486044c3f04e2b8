"""Latency of recognition: what a user waits for, and how often a shown word changes.

Legend: N samples, U output frames, V symbols.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch
import torchaudio
from rapidfuzz.distance import Levenshtein

from bench.core.errors import UserError
from bench.data.audio import read_utterance
from bench.data.batches import min_ctc_frames
from bench.data.features import compute
from bench.data.utterance import Utterance
from bench.training.checkpoint import TrainedNetwork, load_model
from bench.training.device import autocast, default_precision, exact_float32
from bench.training.streaming import EndpointRule, Recogniser, Words
from reports.measurements import LatencyRow

CHUNK_SECONDS = 0.1
"""Audio given to a stream at a time."""
_SILENCES = 2
"""Seconds of digital silence after an utterance, in units of the endpoint's."""
_WARM_UP = 1
"""Utterances recognised before the first that counts."""


@dataclass(frozen=True)
class Network(TrainedNetwork):
    """The network of a checkpoint that is measured, or aligns."""

    run: str
    """Its run, or the file's path."""


def load_network(path: Path, run: str, device: torch.device) -> Network:
    """The network of the checkpoint `path`; errors as in `bench.training.checkpoint.load`."""
    return Network(**vars(load_model(path, device)), run=run)


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """An utterance, and when its words end."""

    utterance: Utterance
    word_ends: tuple[float, ...]
    """Seconds, of each word of the text."""


@torch.inference_mode()
@exact_float32()
def align(aligner: Network, utterance: Utterance) -> Spoken | None:
    """The ends of the words of `utterance` on the best CTC path of `aligner`, on the CPU, for its
    text; None if the text needs more output frames than there are."""
    config = aligner.config
    audio_N = read_utterance(utterance, config.features.sample_rate_hz)
    feats_TF = compute(audio_N, config.features, aligner.stats)
    log_probs_BUV, lens_B = aligner.network(feats_TF[None], torch.tensor([len(feats_TF)]))
    num_frames = int(lens_B[0])
    labels = aligner.units.encode(utterance.text)
    if min_ctc_frames(labels) > num_frames:
        return None
    targets_BL = torch.tensor([labels])
    path_BU, _ = torchaudio.functional.forced_align(log_probs_BUV[:, :num_frames], targets_BL)
    seconds_per_frame = len(audio_N) / config.features.sample_rate_hz / num_frames
    ends = [seconds_per_frame * (frame + 1) for frame in last_frames(path_BU[0].tolist())]
    # A word ends before a space: a symbol of its own, or the beginning of a piece.
    begins_word = [aligner.units.text_of(label).startswith(" ") for label in labels]
    words = [end for end, next_begins in zip(ends, begins_word[1:], strict=False) if next_begins]
    return Spoken(utterance=utterance, word_ends=(*words, ends[-1]))


def last_frames(path: Sequence[int]) -> list[int]:
    """The last frame of each symbol of a CTC path, whose blank is 0."""
    return [u for u, (now, after) in enumerate(pairwise([*path, 0])) if now and now != after]


@dataclass
class _Session:
    """What was measured while one utterance, and silence after it, went through a network."""

    compute_seconds: list[float] = field(default_factory=list)
    """Of each chunk."""
    words: list[str] = field(default_factory=list)
    peak_seconds: list[float] = field(default_factory=list)
    """Of each word, the beginning of the output frame of its last symbol."""
    shown: list[list[str]] = field(default_factory=list)
    """The words of each text that was shown."""
    final_seconds: float = 0.0
    """When the last word was final, from the utterance's beginning, computing included."""


@dataclass(frozen=True)
class _Sessions:
    """Utterances that went through a network, and what its output frames wait for, in seconds."""

    each: tuple[_Session, ...]
    look_ahead_seconds: float
    mean_look_ahead_seconds: float


def measure_latency(
    network: Network,
    spoken: Sequence[Spoken],
    *,
    study: str,
    system: str,
    aligner: str,
    device: torch.device,
    chunk_seconds: float = CHUNK_SECONDS,
    endpoint: EndpointRule | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LatencyRow:
    """Stream each utterance through `network`, or recognise it whole if it cannot stream.

    Args:
        network: on `device`.
        spoken: utterances that `aligner` has aligned; at least one.
        study, system: for the row.
        aligner: the run of the aligner; if it is the network's own, its emission is not measured.
        device: on a CPU set torch to one thread before.
        chunk_seconds: audio given at a time.
        endpoint: of a stream.
        progress: called after each utterance.
    """
    rule = endpoint or EndpointRule()
    heard = _sessions(network, spoken, device, chunk_seconds, rule, progress)
    times = [1000 * seconds for session in heard.each for seconds in session.compute_seconds]
    p50, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
    emissions = [] if aligner == network.run else _emissions(heard.each, spoken)
    mean_look_ahead_ms = 1000 * heard.mean_look_ahead_seconds
    emission_p50 = float(np.percentile(emissions, 50)) if emissions else None
    waits = [s.final_seconds - e.word_ends[-1] for s, e in zip(heard.each, spoken, strict=True)]
    return LatencyRow(
        study=study,
        system=system,
        run=network.run,
        device=device.type,
        aligner=aligner,
        chunk_ms=1000 * chunk_seconds,
        endpoint_ms=1000 * rule.blank_seconds,
        cannot_stream=network.network.cannot_stream or "",
        num_utterances=len(spoken),
        num_words=sum(len(each.word_ends) for each in spoken),
        num_emissions=len(emissions),
        look_ahead_ms=1000 * heard.look_ahead_seconds,
        mean_look_ahead_ms=mean_look_ahead_ms,
        compute_p50_ms=p50,
        compute_p90_ms=p90,
        compute_p99_ms=p99,
        emission_p50_ms=emission_p50,
        emission_p90_ms=float(np.percentile(emissions, 90)) if emissions else None,
        # The parts follow one another, and none is counted twice:
        #
        #     end of the word --> its output frame --> the last audio it reads --> its numbers
        #                 emission             look-ahead                  compute
        user_perceived_ms=None if emission_p50 is None else mean_look_ahead_ms + p50 + emission_p50,
        finalisation_ms=1000 * median(waits),
        unstable_share=_unstable_share(heard.each),
    )


def _sessions(
    network: Network,
    spoken: Sequence[Spoken],
    device: torch.device,
    chunk_seconds: float,
    rule: EndpointRule,
    progress: Callable[[int, int], None],
) -> _Sessions:
    sessions: list[_Session] = []
    looks: list[tuple[float, float]] = []
    for number, each in enumerate([*spoken[:_WARM_UP], *spoken]):
        if network.network.cannot_stream is None:
            recogniser = Recogniser(network, device, rule)
            sessions.append(_streamed(network, recogniser, each.utterance, chunk_seconds, rule))
            looks.append((recogniser.look_ahead_seconds, recogniser.mean_look_ahead_seconds))
        else:
            sessions.append(_whole(network, each.utterance, device))
            # Every frame waits for the end: half of the utterance in the mean.
            looks.append((each.utterance.seconds, each.utterance.seconds / 2))
        progress(number, len(spoken))
    most, means = zip(*looks[_WARM_UP:], strict=True)
    return _Sessions(tuple(sessions[_WARM_UP:]), max(most), fmean(means))


def _streamed(
    network: Network,
    recogniser: Recogniser,
    utterance: Utterance,
    chunk_seconds: float,
    rule: EndpointRule,
) -> _Session:
    rate = network.config.features.sample_rate_hz
    audio_N = read_utterance(utterance, rate)
    silence_N = torch.zeros(round(_SILENCES * rule.blank_seconds * rate))
    session, done = _Session(), Words()
    chunks = torch.split(torch.cat((audio_N, silence_N)), max(1, round(chunk_seconds * rate)))
    now = 0.0
    for number, samples_N in enumerate(chunks):
        begin = time.perf_counter()
        heard = recogniser.push(samples_N, is_last=number == len(chunks) - 1)
        session.compute_seconds.append(time.perf_counter() - begin)
        # A chunk is computed once its last sample has arrived; until then the stream could not
        # know.
        now += len(samples_N) / rate
        for each in heard:
            session.shown.append([*done.texts, *each.words.texts])
            if each.is_final:
                done += each.words
                session.final_seconds = now + session.compute_seconds[-1]
    session.words, session.peak_seconds = list(done.texts), list(done.seconds)
    session.final_seconds = session.final_seconds or now
    return session


@torch.inference_mode()
@exact_float32()
def _whole(network: Network, utterance: Utterance, device: torch.device) -> _Session:
    """The utterance recognised at its end, which is taken as known."""
    config = network.config.features
    audio_N = read_utterance(utterance, config.sample_rate_hz)
    begin = time.perf_counter()
    feats_TF = compute(audio_N, config, network.stats)
    with autocast(device, default_precision(device)):
        log_probs_BUV, lens_B = network.network(
            feats_TF[None].to(device), torch.tensor([len(feats_TF)], device=device)
        )
    # Reading the length waits for the device, so the clock below includes its work.
    log_probs_UV = log_probs_BUV[0, : int(lens_B[0])]
    seconds_per_frame = len(feats_TF) / config.frames_per_second / max(1, len(log_probs_UV))
    words = Words.spelled(log_probs_UV, seconds_per_frame, network.units)
    seconds = time.perf_counter() - begin
    return _Session(
        compute_seconds=[seconds],
        words=list(words.texts),
        peak_seconds=list(words.seconds),
        shown=[list(words.texts)],
        final_seconds=len(audio_N) / config.sample_rate_hz + seconds,
    )


def _emissions(sessions: Iterable[_Session], spoken: Iterable[Spoken]) -> list[float]:
    """Milliseconds from the aligned end of each word that was recognised to its last peak."""
    found = []
    for session, each in zip(sessions, spoken, strict=True):
        pairs = matched(each.utterance.text.split(), session.words)
        found += [1000 * (session.peak_seconds[b] - each.word_ends[a]) for a, b in pairs]
    return found


def matched(ref: Sequence[str], hyp: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The places (in `ref`, in `hyp`) of the words that are right."""
    for step in Levenshtein.opcodes(ref, hyp):
        if step.tag == "equal":
            places = range(step.src_start, step.src_end), range(step.dest_start, step.dest_end)
            yield from zip(*places, strict=True)


def _unstable_share(sessions: Iterable[_Session]) -> float:
    """Of the words of all texts that were shown, the share that the last text has otherwise."""
    num_shown = num_changed = 0
    for session in sessions:
        for words in session.shown:
            num_shown += len(words)
            # A word that the last text does not have at that place has changed.
            last = [*session.words, *[""] * len(words)]
            num_changed += sum(a != b for a, b in zip(words, last, strict=False))
    return num_changed / num_shown if num_shown else 0.0


def align_all(
    aligner: Network, utterances: Iterable[Utterance], progress: Callable[[int, int], None]
) -> list[Spoken]:
    """The utterances with the ends of their words, without those that cannot be aligned.

    Raises:
        UserError: none can.
    """
    chosen = list(utterances)
    found: list[Spoken] = []
    for number, utterance in enumerate(chosen):
        aligned = align(aligner, utterance)
        found += [aligned] if aligned else []
        progress(number + 1, len(chosen))
    if not found:
        raise UserError(
            f"an aligner must have as many output frames as texts need, {aligner.run} has fewer "
            f"for all {len(chosen)} utterances; name another by --aligner"
        )
    return found
