"""Rows of a table as utterances: NeMo's columns or Common Voice's, each row as it was meant.

=============== ============== =======================================================
NeMo            Common Voice
=============== ============== =======================================================
audio_filepath  path           the recording; relative to the table's folder, Common
                               Voice's to ``clips`` in it
text            sentence       the transcript
speaker         client_id      the speaker, else ``speaker_id`` or ``client_id``; else
                               each utterance counts as a speaker of its own
offset                         a snippet begins here, in seconds (0.0 too); it is
                               `duration` long, or goes on to the recording's end
duration                       without `offset`: what the recording's length is claimed
                               to be
id                             else the recording's name, and the snippet's begin
split                          see bench.data.corpora.splits
=============== ============== =======================================================

Any further column is kept as an attribute.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bench.core.errors import UserError
from bench.core.paths import exists
from bench.core.tables import Fields, read_table
from bench.data.corpora.spec import Row, unnamed_speaker
from bench.data.utterance import AUDIO_SUFFIXES, Snippet, utterance_id

_CLIPS = "clips"
"""Where Common Voice keeps recordings, beside its tables."""
SPEAKERS = ("speaker", "speaker_id", "client_id")
_OTHER_BOUNDS = ("start", "end", "start_time", "end_time", "begin", "begin_time", "stop")
"""Columns that also cut a recording, elsewhere: to leave them unread would use all of it."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_URL = re.compile(r"[A-Za-z][\w+.-]+://")


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """What differs between the two."""

    audio: str
    text: str
    suffix: str = ""
    """Of recordings that are named without one."""


_NEMO = _Columns(audio="audio_filepath", text="text")
_COMMON_VOICE = _Columns(audio="path", text="sentence", suffix=".mp3")


def read_rows(
    file: Path, names: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[str, Row]]:
    """The utterances of the table `file`, each with ``file:line`` to name it by; `Row.split` is
    what its column says, in lower case, "" where there is none. `names` gives the table's names of
    columns by ours.

    Raises:
        UserError: the file cannot be read, or a row is not what it should be; names the line.
    """
    clips = file.parent / _CLIPS
    if not clips.is_dir():
        clips = file.parent
    for where, given in read_table(file, "manifest"):
        fields = _renamed(given, names, where)
        if _NEMO.audio not in fields and {"path", "sentence"} <= fields.keys():
            yield where, _row(where, fields, _COMMON_VOICE, clips)
        else:
            yield where, _row(where, fields, _NEMO, file.parent)


def _renamed(fields: Fields, names: Mapping[str, str], where: str) -> Fields:
    """`fields` with NeMo's names for the columns that ``--columns`` names; these replace columns
    that have such a name already."""
    for theirs in names.values():
        if theirs not in fields:
            have = ", ".join(fields)
            raise UserError(
                f"{where}: --columns names {theirs!r}, but the fields are {have}; correct the name"
            )
    others = {name: value for name, value in fields.items() if name not in names.values()}
    ours = {_NEMO.audio if name == "audio" else name: fields[theirs]
            for name, theirs in names.items()}  # fmt: skip
    return others | ours


def _row(where: str, fields: Fields, columns: _Columns, folder: Path) -> Row:
    audio = _text(fields, columns.audio, where)
    if columns.suffix and Path(audio).suffix.lower() not in AUDIO_SUFFIXES:
        audio += columns.suffix
    start, seconds = (
        optional_seconds(fields, "offset", where),
        optional_seconds(fields, "duration", where),
    )
    for name in _OTHER_BOUNDS:
        if start is None and fields.get(name) not in (None, ""):
            raise UserError(
                f"{where}: a snippet of a recording has 'offset' and 'duration' in seconds, got "
                f"{name!r}; rename and convert such columns, or remove them"
            )
    if seconds == 0:
        raise UserError(f"{where}: duration must be above 0, got 0; correct or remove the row")
    id = name_of(fields, "id", where) or utterance_id(audio, start)
    used = {columns.audio, columns.text, *SPEAKERS, "offset", "duration", "id", "split"}
    return Row(
        id=id,
        audio=recording(audio, folder, f"{where}: {columns.audio}"),
        text=_text(fields, columns.text, where),
        speaker=speaker_of(fields, where) or unnamed_speaker(id),
        split=name_of(fields, "split", where).casefold(),
        snippet=None if start is None else Snippet(start_seconds=start, seconds=seconds),
        claimed_seconds=seconds,
        attributes={
            name: text
            for name, value in fields.items()
            if name not in used and (text := attribute_of(value))
        },
    )


def recording(audio: str, folder: Path, what: str) -> Path:
    """The path of a recording that a corpus gives as `audio`, relative to `folder` or absolute.

    Whether it exists is not checked here: bench.data.corpora.validate names every missing one.

    Raises:
        UserError: no name of a file, a folder, a Windows path or an address on the net; `what`
            begins the message, such as ``file:line: audio_filepath``.
    """
    named = Path(audio)
    if not named.stem.strip("."):
        raise UserError(f"{what} {audio!r} names no file; name the recording")
    if _WINDOWS_DRIVE.match(audio):
        raise UserError(f"{what} {audio!r} is a Windows path; give one of this machine")
    if _URL.match(audio):
        raise UserError(f"{what} {audio!r} is an address; download it and name the file")
    try:
        path = folder / named.expanduser()
    except (RuntimeError, ValueError) as error:  # no such user; no name of a user
        raise UserError(f"{what} {audio!r}: {error}; write the whole path") from error
    if "\\" in audio and not exists(path):
        forward = audio.replace("\\", "/")
        raise UserError(f"{what} {audio!r} is a Windows path; write it as {forward!r}")
    if exists(path) and path.is_dir():
        raise UserError(f"{what} {audio!r} is a folder; name the recording in it")
    return path


def seconds_of(value: object, what: str) -> float:
    """A number of seconds, 0 or more, given as a number or as one in text.

    Raises:
        UserError: anything else; `what` begins the message, such as ``file:line: duration``.
    """
    number = math.nan
    if isinstance(value, str):
        if _NUMBER.fullmatch(value.strip()):
            number = float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    if not 0 <= number < math.inf:
        raise UserError(f"{what} is a number of seconds, 0 or more, got {value!r}; correct it")
    return number


def _text(fields: Fields, key: str, where: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        have = ", ".join(str(name) for name in fields)
        raise UserError(
            f"{where}: a row needs {key!r} as text, got {value!r}; its fields are {have}: correct "
            "it, or name the column, as in --columns audio=file,text=sentence"
        )
    return value


def name_of(fields: Fields, key: str, where: str) -> str:
    """A name, "" where there is none; some tools count instead of naming.

    Raises:
        UserError: another type, NaN too.
    """
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise UserError(
            f"{where}: {key} is a name or a whole number, got {value!r}; correct the row"
        )
    name = "" if value is None else str(value).strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        raise UserError(
            f"{where}: {key} {name} is in quotes, which are a part of it here (TSV is not quoted); "
            "remove them"
        )
    return name


def speaker_of(fields: Fields, where: str) -> str:
    """The name of the speaker, "" where there is none; errors as `name_of`."""
    return next((name for key in SPEAKERS if (name := name_of(fields, key, where))), "")


def optional_seconds(fields: Fields, key: str, where: str) -> float | None:
    """The field `key` as `seconds_of` reads it; None where there is none."""
    value = fields.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return seconds_of(value, f"{where}: {key}")


def attribute_of(value: object) -> str:
    """A value of a column as an attribute; "" where there is none, as NaN says of tables that
    pandas has written."""
    if isinstance(value, str):
        return value.strip()
    if value is None or value != value:
        return ""
    return json.dumps(value, ensure_ascii=False)
