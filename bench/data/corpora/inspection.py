"""Statistics and suspicious utterances of a corpus, for `bench.check`."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.data.corpora.spec import CorpusConfig, Listing
from bench.data.corpora.validate import Finding, leaked_ids, sound_part
from bench.data.examination import AudioFacts, AudioFault
from bench.data.utterance import SPLITS, Corpus, Utterance

NUM_EXAMPLES = 3
QUIET_PEAK = 0.01
"""A recording whose peak is below this (-40 dB of full scale) counts as silent."""
CLIPPED_SHARE = 0.001
"""A recording with a larger share of samples at full scale counts as clipped."""
FAR_OUT_SCALES, FAR_OUT_FACTOR = 5.0, 2.0
"""Letters per second are far out if they differ from the median by more than both: this many robust
standard deviations of the logarithm, and this factor."""
# Of a normal distribution: standard deviation / median absolute deviation, 1 / Phi^-1(3/4).
_MAD_TO_SCALE = 1.4826


@dataclass(frozen=True, kw_only=True)
class SplitSize:
    """Of utterances that can be used."""

    utterances: int
    speakers: int
    seconds: float
    words: int


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Statistics and suspicious utterances of a corpus."""

    corpus: Corpus
    splits: dict[str, SplitSize]
    """The splits that have rows, usable or not."""
    symbols: dict[str, int]
    """How often each symbol outside the alphabet occurs, the most frequent first."""
    num_with_symbols: int
    faults: dict[str, str]
    """By id, the fault of the recording."""
    left_out: dict[str, list[str]]
    """By reason, ids."""
    suspicious: dict[str, list[str]]
    """By reason, ids of utterances that can be used but are probably faulty."""
    examples: tuple[Utterance, ...]


def inspect(findings: Sequence[Finding], listing: Listing, config: CorpusConfig) -> Inspection:
    """The statistics of `findings`; faults are counted, not raised."""
    corpus = sound_part(findings, listing, config)
    left_out: dict[str, list[str]] = {}
    for item in corpus.left_out:
        left_out.setdefault(item.reason, []).append(item.id)
    present = {finding.row.split for finding in findings}
    usable = corpus.utterances
    return Inspection(
        corpus=corpus,
        splits={split: _size(corpus.split(split)) for split in SPLITS if split in present},
        symbols=dict(Counter(s for f in findings for s in f.text if s in f.unknown).most_common()),
        num_with_symbols=sum(bool(f.unknown) for f in findings),
        faults={f.row.id: f.audio.fault for f in findings if isinstance(f.audio, AudioFault)},
        left_out=left_out,
        suspicious=_suspicious(findings, usable),
        examples=tuple(usable[i] for i in _spread(len(usable))),
    )


def _suspicious(
    findings: Sequence[Finding], utterances: Sequence[Utterance]
) -> dict[str, list[str]]:
    """By reason, ids; without reasons that apply to no utterance."""
    facts = [
        (f.row.id, f.audio, f)
        for f in findings
        if not f.left_out and isinstance(f.audio, AudioFacts)
    ]
    found = {
        "duration differs from the audio's": [id for id, _, f in facts if f.is_mismatch],
        "silence": [id for id, audio, _ in facts if audio.peak < QUIET_PEAK],
        "clipping": [id for id, audio, _ in facts if audio.clipped_share > CLIPPED_SHARE],
        "letters per second far out": _far_out(utterances),
        "audio occurs more than once": _repeated(utterances, lambda u: u.audio_digest),
        "text occurs more than once": _repeated(utterances, lambda u: u.text),
        **leaked_ids(utterances),
    }
    return {reason: ids for reason, ids in found.items() if ids}


def _far_out(utterances: Sequence[Utterance]) -> list[str]:
    """The ids of utterances whose letters per second are far from the median."""
    if not utterances:
        return []
    # Logarithms, so that twice and half the usual rate are equally far out.
    rates = [math.log(len(u.text.replace(" ", "")) / u.seconds) for u in utterances]
    middle = median(rates)
    scale = _MAD_TO_SCALE * median(abs(rate - middle) for rate in rates)
    limit = max(FAR_OUT_SCALES * scale, math.log(FAR_OUT_FACTOR))
    return [u.id for u, rate in zip(utterances, rates, strict=True) if abs(rate - middle) > limit]


def _repeated(utterances: Sequence[Utterance], key: Callable[[Utterance], str]) -> list[str]:
    counts = Counter(key(u) for u in utterances)
    return [u.id for u in utterances if counts[key(u)] > 1]


def _size(utterances: Sequence[Utterance]) -> SplitSize:
    return SplitSize(
        utterances=len(utterances),
        speakers=len({u.speaker for u in utterances}),
        seconds=round(sum(u.seconds for u in utterances), 3),
        words=sum(len(u.text.split()) for u in utterances),
    )


def _spread(count: int) -> list[int]:
    """Up to NUM_EXAMPLES indices below `count`, evenly spaced from the first to the last."""
    places = {round(i * (count - 1) / (NUM_EXAMPLES - 1)) for i in range(NUM_EXAMPLES)}
    return sorted(places) if count else []
