"""The one place where utterances are checked: every reader's rows come through here.

What the user must mend (a file that is missing or unreadable, a symbol outside the alphabet, an id
given twice, a split without utterances) is an error. What a corpus may well hold but training
cannot use (an empty transcript, a recording that is too long) is left out, with its reason.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from bench.core.config import digest
from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.parsing import parse_json
from bench.core.paths import cache_root, write_text, writing_cache
from bench.data.audio import chosen_channel, probe
from bench.data.corpora.spec import CorpusConfig, Listing, Row
from bench.data.text import normalize, text_digest, unknown_symbols
from bench.data.utterance import SPLITS, Corpus, LeftOut, Utterance

VALIDATION_VERSION = "1"
"""Raised when the rules here change, so that no cached result of the old ones is used."""

_NUM_READERS = 4

_log = logging.getLogger(__name__)


def validate(
    listing: Listing, config: CorpusConfig, progress: ProgressCallback | None = None
) -> Corpus:
    """The corpus of those rows that are sound, with what was left out and what its splits share.

    Opening and hashing every file of a large corpus takes minutes, so the result is kept under the
    cache folder until a row, a file's size or time, the config or the rules change.

    Raises:
        UserError: two rows with one id, audio that is missing or cannot be read, symbols outside
            the alphabet (unless they are to be dropped), several channels, or a train split
            without utterances.
    """
    # Absolute, so that what is kept holds from any working folder.
    rows = tuple(replace(row, audio=row.audio.absolute()) for row in listing.rows)
    _check_ids(rows)
    kept = cache_root() / "corpora" / f"{config.name}-{_key(rows, config)}.json"
    corpus = _kept(kept, listing.notes)
    if corpus is None:
        corpus = _validate(rows, listing.notes, config, progress)
        with writing_cache(kept.parent):
            write_text(kept, json.dumps(_to_json(corpus), ensure_ascii=False))
    _report(corpus)
    return corpus


def _validate(
    rows: Sequence[Row],
    notes: tuple[str, ...],
    config: CorpusConfig,
    progress: ProgressCallback | None,
) -> Corpus:
    spelled, left_out = _with_usable_text(rows, config)
    utterances: list[Utterance] = []
    for done, result in enumerate(_examined(spelled, config), start=1):
        if isinstance(result, LeftOut):
            left_out.append(result)
        else:
            utterances.append(result)
        if progress:
            progress(done, len(spelled))
    _check_splits(config.name, utterances, left_out)
    return Corpus(
        name=config.name,
        utterances=tuple(utterances),
        left_out=tuple(left_out),
        leakage=leakage(utterances),
        notes=notes,
        digest=digest(
            [[u.id, u.text, u.speaker, u.split, u.channel, u.audio_digest] for u in utterances]
        ),
    )


def leakage(utterances: Sequence[Utterance]) -> dict[str, int]:
    """How many utterances of a later split share speaker, audio or text with an earlier one."""
    aspects = {"speaker": "speaker", "audio": "audio_digest", "text": "text"}
    counts: dict[str, int] = {}
    for aspect, attribute in aspects.items():
        values = {s: [getattr(u, attribute) for u in utterances if u.split == s] for s in SPLITS}
        for earlier, later in combinations(SPLITS, 2):
            known = set(values[earlier])
            if shared := sum(value in known for value in values[later]):
                counts[f"{earlier}/{later} same {aspect}"] = shared
    return counts


def _check_ids(rows: Iterable[Row]) -> None:
    seen: dict[str, Row] = {}
    for row in rows:
        if other := seen.get(row.id):
            raise UserError(
                f"an id names one utterance, but {row.id!r} names two ({other.audio} in "
                f"{other.split}, {row.audio} in {row.split}); rename or remove one"
            )
        seen[row.id] = row


def _key(rows: Iterable[Row], config: CorpusConfig) -> str:
    """Names all that the result depends on: rows, their files' size and time, settings, rules."""
    rules = [VALIDATION_VERSION, text_digest(), config.channel, config.text, config.max_seconds]
    hashed = hashlib.sha256(json.dumps(rules).encode())
    for row in rows:
        try:
            status = row.audio.stat()
        except (OSError, ValueError) as error:  # ValueError: no path at all, with a NUL in it
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"audio of utterance {row.id!r} does not exist: {str(row.audio)!r} ({reason}); "
                "correct the path or restore the file"
            ) from error
        fields = [row.id, str(row.audio), row.text, row.speaker, row.split]
        hashed.update(json.dumps([*fields, status.st_size, status.st_mtime_ns]).encode())
    return hashed.hexdigest()[:16]


def _with_usable_text(
    rows: Iterable[Row], config: CorpusConfig
) -> tuple[list[tuple[Row, str]], list[LeftOut]]:
    """Rows with their normalised text, and those left out for it."""
    usable: list[tuple[Row, str]] = []
    left_out: list[LeftOut] = []
    for row in rows:
        text = normalize(row.text)
        unknown = unknown_symbols(text)
        if unknown and config.text == "error":
            raise UserError(
                "transcripts are spelled with a to z, space and apostrophe, but utterance "
                f"{row.id!r} has {', '.join(map(repr, unknown))} in {row.text!r}; spell it out, "
                "or leave such utterances out with --text drop"
            )
        if unknown:
            reason = "symbols outside the alphabet"
        elif not text:
            reason = "empty transcript"
        else:
            usable.append((row, text))
            continue
        left_out.append(LeftOut(id=row.id, split=row.split, reason=reason))
    return usable, left_out


def _examined(
    spelled: list[tuple[Row, str]], config: CorpusConfig
) -> Iterator[Utterance | LeftOut]:
    # Threads, because reading files and hashing both let go of the interpreter.
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        yield from pool.map(lambda item: _examine(item[0], item[1], config), spelled)


def _examine(row: Row, text: str, config: CorpusConfig) -> Utterance | LeftOut:
    try:
        info = probe(row.audio)
        channel = chosen_channel(row.audio, info.num_channels, config.channel)
    except UserError as error:
        raise UserError(f"utterance {row.id!r}: {error}") from error
    if info.seconds > config.max_seconds:
        return LeftOut(id=row.id, split=row.split, reason=f"longer than {config.max_seconds:g} s")
    with row.audio.open("rb") as handle:
        audio_digest = hashlib.file_digest(handle, "sha256").hexdigest()[:16]
    return Utterance(
        id=row.id,
        audio=row.audio,
        sample_rate_hz=info.sample_rate_hz,
        channel=channel,
        text=text,
        speaker=row.speaker,
        split=row.split,
        seconds=info.seconds,
        audio_digest=audio_digest,
    )


def _check_splits(name: str, utterances: list[Utterance], left_out: list[LeftOut]) -> None:
    """Training needs a train split; a sweep needs valid and test too, and says so itself."""
    found = Counter(u.split for u in utterances)
    if not found["train"]:
        refused = sum(item.split == "train" for item in left_out)
        counts = ", ".join(f"{s} {found[s]}" for s in SPLITS if found[s]) or "none at all"
        raise UserError(
            f"a corpus needs utterances to train on, but split train of {name!r} is empty (got "
            f"{counts}; left out of train: {refused}); supply utterances for it"
        )


def _report(corpus: Corpus) -> None:
    for split in SPLITS:
        if chosen := corpus.split(split):
            minutes = sum(u.seconds for u in chosen) / 60
            speakers = len({u.speaker for u in chosen})
            _log.info("%s %s: %d utterances, %.1f minutes, %d speakers",
                      corpus.name, split, len(chosen), minutes, speakers)  # fmt: skip
    for reason, count in Counter(item.reason for item in corpus.left_out).items():
        ids = [item.id for item in corpus.left_out if item.reason == reason]
        _log.warning("%s: left out %d, %s: %s", corpus.name, count, reason, _some(ids))
    for shared, count in corpus.leakage.items():
        _log.warning("%s: splits share data, %s: %d utterances", corpus.name, shared, count)
    for note in corpus.notes:
        _log.info("%s: %s", corpus.name, note)


def _some(ids: list[str], shown: int = 5) -> str:
    return ", ".join(ids[:shown]) + (f" and {len(ids) - shown} more" if len(ids) > shown else "")


def _to_json(corpus: Corpus) -> dict[str, Any]:
    return {
        "name": corpus.name,
        "utterances": [asdict(u) | {"audio": str(u.audio)} for u in corpus.utterances],
        "left_out": [asdict(item) for item in corpus.left_out],
        "leakage": corpus.leakage,
        "digest": corpus.digest,
    }


def _kept(path: Path, notes: tuple[str, ...]) -> Corpus | None:
    """What an earlier command found; None if there is nothing, or the disk has damaged it."""
    try:
        return _from_json(parse_json(path.read_bytes()), notes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _from_json(plain: dict[str, Any], notes: tuple[str, ...]) -> Corpus:
    return Corpus(
        name=plain["name"],
        utterances=tuple(Utterance(**u | {"audio": Path(u["audio"])}) for u in plain["utterances"]),
        left_out=tuple(LeftOut(**item) for item in plain["left_out"]),
        leakage=plain["leakage"],
        notes=notes,
        digest=plain["digest"],
    )
