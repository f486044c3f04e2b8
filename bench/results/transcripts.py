"""Transcripts that other recognisers wrote: JSON lines, and NIST's trn files."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.core.errors import UserError
from bench.core.parsing import parse_json
from bench.data.corpora.rows import optional_seconds
from bench.data.ids import utterance_id

ID_FIELDS = ("id", "utt_id", "key")
AUDIO_FIELDS = ("audio_filepath", "audio_path")
"""Where a row has none of ID_FIELDS, its recording and offset name it, as in corpora."""
TEXT_FIELDS = (("text", "pred_text"), ("ref", "hyp"))
"""What was said and what was understood: as NeMo and the open ASR leaderboard, as we write it."""
_TRN_LINE = re.compile(r"(?P<words>.*)\((?P<id>[^()\s]+)\)\s*")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What was said in one utterance, and what was understood."""

    where: str
    """``file:line`` of the reference."""
    ref: str
    hyp: str
    speaker: str = ""
    seconds: float = math.nan


def read_json_lines(path: Path) -> dict[str, Transcript]:
    """Utterances by id, as NeMo and the open ASR leaderboard write them, or as we do.

    Raises:
        UserError: a line that is no utterance, or one that is there twice; names the line.
    """
    texts: dict[str, Transcript] = {}
    for where, row in _rows(path):
        id = _id(row, where)
        ref, hyp = next(((row[r], row[h]) for r, h in TEXT_FIELDS if {r, h} <= row.keys()), (0, 0))
        if not id or not isinstance(ref, str) or not isinstance(hyp, str):
            raise UserError(
                f"{where}: an utterance has text, pred_text and an id (one of "
                f"{', '.join((*ID_FIELDS, *AUDIO_FIELDS))}), got the keys "
                f"{', '.join(sorted(row)) or 'none'}; add what is missing"
            )
        if id in texts:
            raise UserError(f"{where}: {id!r} is there already; remove one of the lines")
        speaker = row.get("speaker")
        texts[id] = Transcript(
            where=where,
            ref=ref,
            hyp=hyp,
            speaker="" if speaker is None else str(speaker),
            seconds=_seconds(row),
        )
    return _some(path, texts)


def read_trn(path: Path, ref: Path) -> dict[str, Transcript]:
    """Utterances by id from NIST's transcripts, hypotheses in `path` and references in `ref`.

    Raises:
        UserError: a line of another form, an utterance twice, or one that only one file has.
    """
    refs, hyps = _trn(ref), _trn(path)
    for id in (*refs, *hyps):
        if id not in refs or id not in hyps:
            missing, extra = len(refs.keys() - hyps.keys()), len(hyps.keys() - refs.keys())
            where = (refs if id in refs else hyps)[id][0]
            raise UserError(
                f"{path} must have the utterances of {ref}, but {id!r} is only in {where} "
                f"({missing} missing, {extra} too many); correct {path}"
            )
    return {
        id: Transcript(where=where, ref=words, hyp=hyps[id][1], speaker=_trn_speaker(id))
        for id, (where, words) in refs.items()
    }


def _trn_speaker(id: str) -> str:
    """What stands before the first dash, or underscore where there is none, as for NIST's tools."""
    return id.partition("-" if "-" in id else "_")[0]


def _id(row: Mapping[str, Any], where: str) -> str:
    for key in (*ID_FIELDS, *AUDIO_FIELDS):
        value = row.get(key)
        if isinstance(value, str | int) and str(value).strip():
            if key in ID_FIELDS:
                return str(value)
            return utterance_id(str(value), optional_seconds(row, "offset", where))
    return ""


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, line in _lines(path):
        try:
            row = parse_json(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UserError(
                f"{where}: a line is one JSON object, got {line[:60]!r}; correct it (trn files "
                "need --ref)"
            )
        yield where, row


def _trn(path: Path) -> dict[str, tuple[str, str]]:
    """NIST's transcripts, words and then the id in parentheses: ``file:line`` and words by id."""
    texts: dict[str, tuple[str, str]] = {}
    for where, line in _lines(path):
        match = _TRN_LINE.fullmatch(line)
        if match is None:
            raise UserError(
                f"{where}: a line reads `WORDS (ID)`, got {line[:60]!r}; correct the line"
            )
        if "{" in match["words"]:
            raise UserError(
                f"{where}: alternatives in braces are not scored, got {line[:60]!r}; keep one"
            )
        if match["id"] in texts:
            raise UserError(f"{where}: {match['id']!r} is there already; remove one of the lines")
        texts[match["id"]] = (where, match["words"])
    return _some(path, texts)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of `path` that are not blank, each after its ``file:line``."""
    try:
        # Not splitlines(), which also breaks at characters that a text may hold.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"{path} cannot be read ({reason}); name a text file") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"{path}:{number}", line


def _seconds(row: Mapping[str, Any]) -> float:
    value = row.get("seconds", row.get("duration"))
    # An int may be too large for a float; no recording is that long.
    return float(value) if isinstance(value, int | float) and abs(value) < 1e9 else math.nan


def _some(path: Path, texts: dict[str, T]) -> dict[str, T]:
    """`texts`, if there are any."""
    if not texts:
        raise UserError(f"{path} must hold a line per utterance, has none; name another file")
    return texts
