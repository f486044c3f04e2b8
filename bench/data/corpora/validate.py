"""Validation of the rows of every reader.

Faults that the user must correct (a recording that is missing or cannot be decoded to its end, a
symbol outside the alphabet, an id used twice) are one error that lists them all; the user can have
such utterances left out instead. Utterances that are legitimate but cannot be trained on (an empty
transcript, a recording that is too long) are left out, with a reason.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from bench.core.config import digest
from bench.core.console import ProgressCallback, ticker
from bench.core.errors import UserError
from bench.core.paths import cache_root
from bench.data.corpora.spec import CorpusConfig, Listing, Row
from bench.data.examination import AudioFacts, AudioFault, ExaminationCache, Found, Part, examine
from bench.data.text import normalize, unknown_symbols
from bench.data.utterance import SNR, SPLITS, Corpus, ExcludedUtterance, Utterance

MAX_LISTED = 20
"""Number of faults that an error lists."""
MISMATCH_SHARE, MISMATCH_SECONDS = 0.05, 0.1
"""A duration that differs from the audio's by more than both is reported."""
_OVERLAP_SECONDS = 0.1
"""Two snippets that share more than this of a recording share audio."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A row and the results of its checks."""

    row: Row
    text: str
    """Normalised."""
    unknown: str
    """The symbols of `text` outside the alphabet."""
    audio: AudioFacts | AudioFault
    left_out: str
    """Why the utterance cannot be used; "" if it can."""

    @property
    def is_mismatch(self) -> bool:
        """True if the duration that the corpus states differs from the audio's."""
        claimed = self.row.claimed_seconds
        if claimed is None or isinstance(self.audio, AudioFault):
            return False
        gap = abs(claimed - self.audio.seconds)
        return gap > MISMATCH_SHARE * self.audio.seconds and gap > MISMATCH_SECONDS


def validate(
    listing: Listing, config: CorpusConfig, progress: ProgressCallback | None = None
) -> Corpus:
    """The corpus of the rows that can be used, with those left out and the leakage between splits.

    Raises:
        UserError: as `survey`; audio that cannot be used or symbols outside the alphabet, unless
            `config` says that such utterances are to be left out.
    """
    findings = survey(listing, config, progress)
    _check_refused(findings, config)
    corpus = sound_part(findings, listing, config)
    _report(corpus, listing)
    return corpus


def survey(
    listing: Listing, config: CorpusConfig, progress: ProgressCallback | None = None
) -> list[Finding]:
    """The results of the checks of each row; every recording is decoded to its end.

    That takes minutes for a large corpus, so results are cached until a file's size or time
    changes.

    Raises:
        UserError: two rows with one id.
        UnwritableError: the cache cannot be written.
    """
    # Absolute paths, so that cached results are valid for any working folder.
    rows = [
        row if row.audio.is_absolute() else replace(row, audio=row.audio.absolute())
        for row in listing.rows
    ]
    _check_ids(rows)
    parts = [
        Part(row.audio, config.channel if row.channel is None else row.channel, row.snippet)
        for row in rows
    ]
    tick, found = ticker(progress, len(parts)), dict[Part, Found]()
    for label, one in config.parts.items():
        # Joined corpora share the results that each has alone.
        own = [part for row, part in zip(rows, parts, strict=True) if row.corpus in ("", label)]
        place = digest([one.name, one.path])
        cache = ExaminationCache(cache_root() / "corpora" / f"{one.name}-audio-{place}.json")
        found |= examine(own, cache, tick)
    findings = []
    for row, part in zip(rows, parts, strict=True):
        text = normalize(row.text)
        unknown, audio = unknown_symbols(text), found[part]
        left_out = _reason(text, unknown, audio, config.max_seconds)
        findings.append(
            Finding(row=row, text=text, unknown=unknown, audio=audio, left_out=left_out)
        )
    return findings


def sound_part(findings: Sequence[Finding], listing: Listing, config: CorpusConfig) -> Corpus:
    """The corpus of the rows that can be used."""
    sound = [(f.row.corpus, _utterance(f, f.audio)) for f in findings
             if not f.left_out and isinstance(f.audio, AudioFacts)]  # fmt: skip
    utterances = tuple(utterance for _, utterance in sound)
    first = next(iter(config.parts))
    own = [utterance for label, utterance in sound if label in ("", first)]
    added = [utterance for label, utterance in sound if label not in ("", first)]
    notes = listing.notes
    if mismatched := [f.row.id for f in findings if f.is_mismatch and not f.left_out]:
        notes += (
            "durations in the corpus's own list differ from the audio's by more than "
            f"{100 * MISMATCH_SHARE:g} % and {MISMATCH_SECONDS:g} s, utterances: "
            f"{len(mismatched)} ({some(mismatched)})",
        )
    return Corpus(
        name=config.title,
        utterances=utterances,
        left_out=tuple(
            ExcludedUtterance(id=f.row.id, split=f.row.split, reason=f.left_out)
            for f in findings
            if f.left_out
        ),
        leakage={aspect: len(ids) for aspect, ids in leaked_ids(utterances).items()},
        notes=notes,
        digest="+".join(map(_digest, (own, added) if added else (own,))),
    )


def _digest(utterances: Sequence[Utterance]) -> str:
    return digest(
        [[u.id, u.text, u.speaker, u.split, u.channel, u.audio_digest] for u in utterances]
    )


def require_splits(corpus: Corpus, splits: Iterable[str], who: str) -> None:
    """Check that `corpus` has utterances in each of `splits`, which `who` ("training") needs.

    Raises:
        UserError: it has none in one of them.
    """
    found = Counter(u.split for u in corpus.utterances)
    for split in splits:
        if not found[split]:
            refused = sum(item.split == split for item in corpus.left_out)
            counts = ", ".join(f"{s} {found[s]}" for s in SPLITS if found[s]) or "none at all"
            way_out = "supply utterances for it"
            if "+" in corpus.name and split != "train":
                way_out = "name a corpus that has one first: of joined corpora it alone gives it"
            raise UserError(
                f"{who} needs a {split} split, but corpus {corpus.name} has none (got {counts}; "
                f"left out of {split}: {refused}); {way_out}"
            )


def leaked_ids(utterances: Sequence[Utterance]) -> dict[str, list[str]]:
    """By "EARLIER/LATER same ASPECT", the ids of utterances of the later split whose speaker, audio
    or text is also in the earlier split; without empty entries."""
    by_split = {s: [u for u in utterances if u.split == s] for s in SPLITS}
    aspects: dict[str, Callable[[Sequence[Utterance], Sequence[Utterance]], list[str]]] = {
        "speaker": lambda first, later: _same(first, later, lambda u: u.speaker),
        "audio": _same_audio,
        "text": lambda first, later: _same(first, later, lambda u: u.text),
    }
    leaked: dict[str, list[str]] = {}
    for aspect, shared in aspects.items():
        for first, later in combinations(SPLITS, 2):
            if ids := shared(by_split[first], by_split[later]):
                leaked[f"{first}/{later} same {aspect}"] = ids
    return leaked


def some(ids: Sequence[str]) -> str:
    """The first five ids, and the number of further ones."""
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")


def _same(
    first: Sequence[Utterance], later: Sequence[Utterance], key: Callable[[Utterance], str]
) -> list[str]:
    known = {key(u) for u in first}
    return [u.id for u in later if key(u) in known]


def _same_audio(first: Sequence[Utterance], later: Sequence[Utterance]) -> list[str]:
    """The ids of `later` whose audio is in `first` too, or overlaps a snippet of `first`."""
    same = _same(first, later, lambda u: u.audio_digest)
    if all(u.snippet is None for u in (*first, *later)):
        return same
    # Snippets of one channel of one recording share audio where their seconds overlap:
    #
    #     train    [---------]    [-----]
    #     test              [-------]       the first overlap is within the slack of cutting, the
    #                                       second is leakage
    spans: dict[tuple[str, int | None], list[tuple[float, float]]] = {}
    for u in first:
        spans.setdefault((str(u.audio), u.channel), []).append(_span(u))

    def overlaps(u: Utterance) -> bool:
        begin, end = _span(u)
        least = min(_OVERLAP_SECONDS, u.seconds / 2)
        return any(
            min(end, other_end) - max(begin, other) > least
            for other, other_end in spans.get((str(u.audio), u.channel), ())
        )

    found = set(same)
    return [u.id for u in later if u.id in found or overlaps(u)]


def _span(utterance: Utterance) -> tuple[float, float]:
    begin = utterance.snippet.start_seconds if utterance.snippet else 0.0
    return begin, begin + utterance.seconds


def _check_ids(rows: Iterable[Row]) -> None:
    seen: dict[str, Row] = {}
    faults = []
    for row in rows:
        if other := seen.get(row.id):
            faults.append(
                f"{row.id!r} names two ({other.audio} in {other.split}, {row.audio} in {row.split})"
            )
        seen[row.id] = row
    if faults:
        raise UserError(
            f"an id names one utterance, but {_listed(faults)}; rename or remove one of each"
        )


def _reason(text: str, unknown: str, audio: AudioFacts | AudioFault, max_seconds: float) -> str:
    """Why the utterance cannot be used; "" if it can."""
    if unknown:
        return "symbols outside the alphabet"
    if not text:
        return "empty transcript"
    if isinstance(audio, AudioFault):
        return audio.kind
    if audio.seconds > max_seconds:
        return f"longer than {max_seconds:g} s"
    return ""


def _check_refused(findings: Sequence[Finding], config: CorpusConfig) -> None:
    """Raise an error that lists all faults, without those that `config` says to leave out."""
    faults: list[str] = []
    ways_out: dict[str, None] = {}
    flags: dict[str, None] = {}
    for f in findings:
        if f.unknown and config.text == "error":
            faults.append(f"utterance {f.row.id!r} has {', '.join(map(repr, f.unknown))} in "
                          f"{f.row.text!r}")  # fmt: skip
            ways_out["spell transcripts with a to z, space and apostrophe"] = None
            flags["--text drop"] = None
        elif f.unknown or not f.text or isinstance(f.audio, AudioFacts):
            continue
        elif config.audio == "error":
            faults.append(f"utterance {f.row.id!r}: {f.audio.fault}")
            ways_out[f.audio.way_out] = None
            flags["--audio drop"] = None
    if faults:
        raise UserError(
            f"{len(faults)} of {len(findings)} utterances of corpus {config.title!r} cannot be "
            f"used: {_listed(faults)}; {'; '.join(ways_out)}; or leave such utterances out with "
            f"{' '.join(flags)}"
        )


def _listed(faults: Sequence[str]) -> str:
    more = len(faults) - MAX_LISTED
    return "; ".join(faults[:MAX_LISTED]) + (f"; and {more} more" if more > 0 else "")


def _utterance(finding: Finding, audio: AudioFacts) -> Utterance:
    row = finding.row
    estimated = {} if audio.snr_db is None else {SNR: str(round(audio.snr_db))}
    return Utterance(
        id=row.id,
        audio=row.audio,
        sample_rate_hz=audio.sample_rate_hz,
        channel=audio.channel,
        text=finding.text,
        speaker=row.speaker,
        split=row.split,
        seconds=audio.seconds,
        audio_digest=audio.digest,
        snippet=row.snippet,
        attributes=estimated | dict(row.attributes),
    )


def _report(corpus: Corpus, listing: Listing) -> None:
    for split in SPLITS:
        if chosen := corpus.split(split):
            minutes = sum(u.seconds for u in chosen) / 60
            speakers = len({u.speaker for u in chosen})
            _log.info("%s %s: %d utterances, %.1f minutes, %d speakers",
                      corpus.name, split, len(chosen), minutes, speakers)  # fmt: skip
    for reason, count in Counter(item.reason for item in corpus.left_out).items():
        ids = [item.id for item in corpus.left_out if item.reason == reason]
        _log.warning("%s: left out %d, %s: %s", corpus.name, count, reason, some(ids))
    for shared, count in corpus.leakage.items():
        _log.warning("%s: splits share data, %s: %d utterances", corpus.name, shared, count)
    for note in corpus.notes:
        level = logging.INFO if note in listing.notes else logging.WARNING
        _log.log(level, "%s: %s", corpus.name, note)
