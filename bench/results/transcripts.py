"""Reading transcripts of other recognisers: JSON lines, and NIST's trn files."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.core.errors import UserError
from bench.core.parsing import split_lines
from bench.core.paths import read_text
from bench.core.tables import read_table
from bench.data.corpora.rows import (
    SPEAKERS,
    attribute_of,
    name_of,
    optional_seconds,
    speaker_of,
)
from bench.data.text import normalize
from bench.data.utterance import utterance_id
from bench.scoring.marks import check_marks, resolve
from reports.format import some

ID_FIELDS = ("id", "utt_id", "key")
AUDIO_FIELDS = ("audio_filepath", "audio_path")
"""The recording, which with the offset is the id of a row without ID_FIELDS, as in corpora."""
TEXT_FIELDS = (("text", "pred_text"), ("ref", "hyp"))
"""Reference and hypothesis: of NeMo and the open ASR leaderboard, of this project."""
_TRN_LINE = re.compile(r"(?P<words>.*)\((?P<id>[^()]*[^()\s])\s*\)\s*")
_COMMENT = ";;"
_SHOWN_LINES = 3

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The normalised reference and hypothesis of one utterance."""

    where: str
    """``file:line`` of the reference."""
    ref: str
    hyp: str
    written: str
    """The original reference with its marks, the same for every system; `ref` is the alternative
    with the fewest errors for this hypothesis."""
    speaker: str = ""
    seconds: float = math.nan
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What else a row says of the utterance or its speaker: ``{"gender": "f"}``."""


@dataclass(frozen=True, kw_only=True)
class Transcripts:
    """A system's file."""

    texts: Mapping[str, Transcript]
    """By id."""
    unpaired: frozenset[str] = frozenset()
    """Ids of references without a hypothesis, and of hypotheses without a reference."""
    warnings: tuple[str, ...] = ()
    """Remarks on doubtful input, such as null hypotheses."""


def read_json_lines(path: Path) -> Transcripts:
    """Utterances in the format of NeMo and the open ASR leaderboard, or of this project: JSON
    lines, a JSON array, or a CSV or TSV table. A hypothesis that is null counts as empty, with a
    warning.

    Raises:
        UserError: a row that is no utterance, or a repeated one; names the line.
    """
    texts: dict[str, Transcript] = {}
    silent: list[str] = []
    for where, row in read_table(path, "transcripts"):
        id = _id(row, where)
        ref, hyp = next(((row[r], row[h]) for r, h in TEXT_FIELDS if {r, h} <= row.keys()), (0, 0))
        if hyp is None:
            silent.append(where)
            hyp = ""
        if not id or not isinstance(ref, str) or not isinstance(hyp, str):
            raise UserError(
                f"{where}: an utterance has text, pred_text and an id (one of "
                f"{', '.join((*ID_FIELDS, *AUDIO_FIELDS))}), got {_shown(row)}; add what is missing"
            )
        if id in texts:
            raise UserError(
                f"{where}: {id!r} is there already ({texts[id].where}); remove one of the lines"
            )
        ref = normalize(ref)
        texts[id] = Transcript(
            where=where,
            ref=ref,
            hyp=normalize(hyp),
            written=ref,
            speaker=speaker_of(row, where),
            seconds=_seconds(row),
            attributes=_attributes(row),
        )
    warnings = (
        [f"{path}: {len(silent)} of {len(texts)} hypotheses are null and count as empty, in "
         f"{some(silent, _SHOWN_LINES)}"] if silent else []
    )  # fmt: skip
    return Transcripts(texts=_some(path, texts), warnings=tuple(warnings))


def read_trn(path: Path, ref: Path, *, common: bool = False, by_name: bool = False) -> Transcripts:
    """Utterances of NIST's trn files, with marks as in `bench.scoring.marks`. Ids are compared
    without case, as in NIST's tools.

    Args:
        path: of the hypotheses.
        ref: of the references.
        common: leave out utterances that only one of the files has, instead of raising an error.
        by_name: compare ids without the folders before them.

    Raises:
        UserError: a line of another form, an utterance twice, or one that only one file has.
    """
    refs, hyps = (
        _trn(file, lambda id: (file_name(id) if by_name else id).lower()) for file in (ref, path)
    )
    # The ids that only one of the files has.
    unpaired = {**refs, **hyps}.keys() - (refs.keys() & hyps.keys())
    if unpaired and not common:
        id = next(id for id in (*refs, *hyps) if id in unpaired)
        line = (refs if id in refs else hyps)[id]
        missing, extra = len(refs.keys() - hyps.keys()), len(hyps.keys() - refs.keys())
        raise UserError(
            f"{path} must have the utterances of {ref}, but {line.id!r} is only in {line.where} "
            f"({missing} missing, {extra} too many); correct {path}, or add --common to leave them "
            "out"
        )
    texts = {line.id: _paired(line, hyps[id]) for id, line in refs.items() if id in hyps}
    if not texts:
        ids = (next(iter(lines.values())).id for lines in (hyps, refs))
        raise UserError(
            f"{path} and {ref} have no utterance in common (such as "
            f"{' and '.join(map(repr, ids))}); make the ids alike"
        )
    ids = (refs[id].id if id in refs else hyps[id].id for id in unpaired)
    return Transcripts(texts=texts, unpaired=frozenset(ids))


@dataclass(frozen=True)
class _Line:
    """Of a trn file."""

    where: str
    id: str
    words: str


def _paired(ref: _Line, hyp: _Line) -> Transcript:
    resolved_ref, resolved_hyp = resolve(ref.words, hyp.words)
    return Transcript(
        where=ref.where,
        ref=resolved_ref,
        hyp=resolved_hyp,
        written=" ".join(ref.words.split()),
        # The text before the first dash, or underscore if there is no dash, as in NIST's tools.
        speaker=ref.id.partition("-" if "-" in ref.id else "_")[0],
    )


def _trn(path: Path, key: Callable[[str], str]) -> dict[str, _Line]:
    """NIST's transcripts, words and then the id in parentheses, by the `key` of the id."""
    texts: dict[str, _Line] = {}
    for where, line in _lines(path):
        if line.startswith(_COMMENT):
            continue
        match = _TRN_LINE.fullmatch(line)
        if match is None:
            raise UserError(
                f"{where}: a line reads `WORDS (ID)`, got {line[:60]!r}; correct the line"
            )
        id = " ".join(match["id"].split())
        if key(id) in texts:
            other = texts[key(id)]
            raise UserError(
                f"{where}: {id!r} is there already ({other.where}: {other.id!r}); remove one of "
                "the lines"
            )
        try:
            check_marks(match["words"])
        except ValueError as error:
            raise UserError(
                f"{where}: alternatives read `{{ one / another }}`, but {error}; correct the line"
            ) from error
        texts[key(id)] = _Line(where, id, match["words"])
    return _some(path, texts)


def file_name(id: str) -> str:
    """An id without the folders before it."""
    return re.split(r"[/\\]", id)[-1]


def _id(row: Mapping[str, object], where: str) -> str:
    for key in (*ID_FIELDS, *AUDIO_FIELDS):
        if name := name_of(row, key, where):
            is_id = key in ID_FIELDS
            return name if is_id else utterance_id(name, optional_seconds(row, "offset", where))
    return ""


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of `path` that are not blank, each after its ``file:line``."""
    for number, line in enumerate(split_lines(read_text(path, "transcripts")), start=1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def _attributes(row: Mapping[str, object]) -> dict[str, str]:
    # TEXT_FIELDS are pairs: their sum is one tuple of all four names.
    used = {*ID_FIELDS, *AUDIO_FIELDS, *SPEAKERS, *sum(TEXT_FIELDS, ()), "offset", "duration"}
    return {
        key: text
        for key, value in row.items()
        if key not in used
        and isinstance(value, str | int | float)
        and (text := attribute_of(value))
    }


def _seconds(row: Mapping[str, object]) -> float:
    value = row.get("seconds", row.get("duration"))
    # An int may be too large for a float; no recording is that long.
    return float(value) if isinstance(value, int | float) and abs(value) < 1e9 else math.nan


def _shown(row: Mapping[str, object]) -> str:
    """The faulty values of a row, or its keys, for an error."""
    wrong = [
        f"{key}: {row[key]!r:.40}"
        for pair in TEXT_FIELDS
        for key in pair
        if not isinstance(row.get(key, ""), str)
    ]
    return ", ".join(wrong) or f"the keys {', '.join(sorted(row)) or 'none'}"


def _some(path: Path, texts: dict[str, T]) -> dict[str, T]:
    """`texts`, if there are any."""
    if not texts:
        raise UserError(f"{path} must hold a line per utterance, has none; name another file")
    return texts
