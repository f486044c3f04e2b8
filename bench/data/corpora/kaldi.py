"""Kaldi's data folders: ``data/{train,dev,test}``. Povey et al., ASRU 2011; data_prep.html there.

=================== ==================== ====================================================
wav.scp             RECORDING PATH       commands (``flac -c -d x.flac |``) are refused
text                UTTERANCE WORDS
segments            UTTERANCE RECORDING  the snippets of recordings that utterances are; without
                    START END            it each recording is an utterance
utt2spk, spk2utt    UTTERANCE SPEAKER    one of them is enough; two must agree
utt2dur             UTTERANCE SECONDS    what the length is claimed to be
spk2X, utt2X        SPEAKER or           attribute X, as in spk2gender, spk2age
                    UTTERANCE VALUE
=================== ==================== ====================================================

PATH may be the folder that ``data`` is in, ``data`` itself, a folder with one of them as its only
folder, an archive of one of these, or the folder of a single split. Folders are named after splits
(see bench.data.corpora.splits); others, as ``train_sp``, are named in a note and not read.

Relative paths in a wav.scp begin at the first of these folders under which any of its recordings
lies: where ``data`` is, ``data``, the split's own folder, the working folder.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.parsing import split_lines
from bench.core.paths import exists, read_text
from bench.data.corpora.folders import entries, holds, only_folder, unpacked
from bench.data.corpora.rows import recording, seconds_of
from bench.data.corpora.spec import CorpusConfig, CorpusSpec, Listing, Row, unnamed_speaker
from bench.data.corpora.splits import SPLIT_NAMES, is_split_name, splits_of, unread
from bench.data.utterance import Snippet

_DATA, _RECORDINGS = "data", "wav.scp"
_BLANKS = re.compile(r"[ \t]+")
_ARCHIVE_PLACE = re.compile(r".*:\d+(\[.*\])?")
"""A wav.scp may point into Kaldi's own archives: ``wav.ark:2103``."""
_ATTRIBUTES = re.compile(r"(?P<of>spk|utt)2(?P<name>\w+)")
_TO_THE_END = ("-1", "-1.0", "-1.00")
_NO_ATTRIBUTES = ("spk2utt", "utt2spk", "utt2dur")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    where: str
    """``file:line``."""
    value: str
    """What follows the key, "" if nothing does."""


_Table = dict[str, _Entry]
"""A file of Kaldi's: keys, and what follows them on their line."""


def _read(config: CorpusConfig, progress: ProgressCallback | None) -> Listing:
    path = config.required_path()
    folders, others = _split_folders(unpacked([path]) if path.is_file() else path.absolute(), path)
    splits = splits_of({name: str(folder) for name, folder in folders.items()})
    rows = [r for name, split in splits.items() for r in _rows_of(folders[name], split)]
    if not rows:
        raise UserError(f"kaldi: {path} lists no utterances in {', '.join(folders)}; give others")
    return Listing(rows=tuple(rows), notes=unread(others))


def _split_folders(root: Path, given: Path) -> tuple[dict[str, Path], list[str]]:
    """The folders of a corpus by their names in lower case, and the names of data folders that no
    split is named after."""
    if (root / _RECORDINGS).is_file():
        return {root.name.casefold(): root}, []
    # The first place that has a folder named after a split is the corpus:
    #
    #     PATH/data/train    PATH/train    PATH/ONLY/data/train    PATH/ONLY/train
    inside = only_folder(root)
    unnamed: list[str] = []
    for place in (root / _DATA, root, *(folder / _DATA for folder in inside), *inside):
        found = entries(place) if place.is_dir() else []
        found = [folder for folder in found if (folder / _RECORDINGS).is_file()]
        named = {folder.name.casefold(): folder for folder in found if is_split_name(folder.name)}
        others = [folder.name for folder in found if not is_split_name(folder.name)]
        if named:
            return named, others
        unnamed += others
    raise UserError(
        f"kaldi: no folder data/NAME with {_RECORDINGS} and text in {given}, where NAME is "
        f"{SPLIT_NAMES}; {holds(root)}"
        + (f", data folders are {', '.join(unnamed)}" if unnamed else "")
        + "; rename them, or give another folder"
    )


def _rows_of(folder: Path, split: str) -> list[Row]:
    texts = _table(folder / "text")
    audio = _recordings(folder)
    cuts = _segments(folder / "segments", audio) if (folder / "segments").exists() else None
    listed = audio if cuts is None else cuts
    _check_same(folder, {"text": texts, _RECORDINGS if cuts is None else "segments": listed})
    speakers = _speakers(folder)
    if speakers:
        _check_same(folder, {"text": texts, "utt2spk or spk2utt": speakers})
    claimed = {
        id: seconds_of(entry.value, f"{entry.where}: length")
        for id, entry in _optional(folder / "utt2dur").items()
    }
    of_speaker, of_utterance = _attributes(folder, "spk"), _attributes(folder, "utt")
    rows = []
    for id, text in texts.items():
        recording_id, cut = (id, None) if cuts is None else cuts[id]
        speaker = speakers[id].value if speakers else unnamed_speaker(id)
        rows.append(
            Row(
                id=id,
                audio=audio[recording_id],
                text=text.value,
                speaker=speaker,
                split=split,
                snippet=cut,
                claimed_seconds=claimed.get(id),
                attributes=_of_one(of_speaker, speaker) | _of_one(of_utterance, id),
            )
        )
    return rows


def _recordings(folder: Path) -> dict[str, Path]:
    """The paths in wav.scp, by recording."""
    listed = _table(folder / _RECORDINGS)
    for name, entry in listed.items():
        if not entry.value:
            raise UserError(f"{entry.where}: a line reads `RECORDING PATH`, got {name!r} alone")
        if "|" in (entry.value[0], entry.value[-1]):
            raise UserError(
                f"{entry.where}: commands of a {_RECORDINGS} are not run, got {entry.value!r}; run "
                "it, and name the file that it makes"
            )
        if _ARCHIVE_PLACE.fullmatch(entry.value) and not exists(Path(entry.value)):
            raise UserError(
                f"{entry.where}: {entry.value!r} is a place in an archive of Kaldi's, which is not "
                "read; name a recording's own file"
            )
    data = folder.parent
    roots = [*([data.parent] if data.name == _DATA else []), data, folder, Path.cwd()]
    paths = [entry.value for entry in listed.values()]
    # Usually the first path exists below the first root, so that few paths are tested.
    root = next((r for r in roots if any(exists(r / path) for path in paths)), roots[0])
    return {
        name: recording(entry.value, root, f"{entry.where}: path")
        for name, entry in listed.items()
    }  # fmt: skip


def _segments(file: Path, audio: Mapping[str, Path]) -> dict[str, tuple[str, Snippet]]:
    """The recording of each utterance, and its part in it."""
    cuts = {}
    for id, entry in _table(file).items():
        fields = _BLANKS.split(entry.value)
        if len(fields) != 3:
            raise UserError(
                f"{entry.where}: a line reads `UTTERANCE RECORDING START END`, got "
                f"{id + ' ' + entry.value!r}; correct the line"
            )
        name, begin, end = fields
        if name not in audio:
            raise UserError(
                f"{entry.where}: recording {name!r} is not in {file.with_name(_RECORDINGS)}; add it"
            )
        start = seconds_of(begin, f"{entry.where}: START")
        # As in Kaldi, -1 is the recording's end.
        stop = None if end in _TO_THE_END else seconds_of(end, f"{entry.where}: END")
        if stop is not None and stop <= start:
            raise UserError(f"{entry.where}: END must be after START, got {begin} and {end}")
        # Rounded, since 2.3 - 2.1 is 0.19999999999999973.
        length = None if stop is None else round(stop - start, 9)
        cuts[id] = (name, Snippet(start_seconds=start, seconds=length))
    return cuts


def _speakers(folder: Path) -> _Table:
    """The speaker of each utterance; {} if neither file is there."""
    by_utterance = _optional(folder / "utt2spk")
    for id, entry in by_utterance.items():
        if not entry.value or _BLANKS.search(entry.value):
            raise UserError(
                f"{entry.where}: a line reads `UTTERANCE SPEAKER`, got "
                f"{id + ' ' + entry.value!r}; correct the line"
            )
    # As utt2spk has it, so that the two can be compared line by line.
    inverted: _Table = {}
    for speaker, entry in _optional(folder / "spk2utt").items():
        for id in _BLANKS.split(entry.value):
            _add(inverted, id, _Entry(where=entry.where, value=speaker))
    if by_utterance and inverted:
        _check_same(folder, {"utt2spk": by_utterance, "spk2utt": inverted})
        for id, entry in by_utterance.items():
            if entry.value != inverted[id].value:
                raise UserError(
                    f"utterance {id!r} has two speakers, {entry.value!r} ({entry.where}) and "
                    f"{inverted[id].value!r} ({inverted[id].where}); correct one of the files"
                )
    return by_utterance or inverted


def _check_same(folder: Path, files: Mapping[str, Iterable[str]]) -> None:
    """Check that two files list the same utterances."""
    (first, ours), (second, theirs) = ((name, set(ids)) for name, ids in files.items())
    for name, missing in ((second, ours - theirs), (first, theirs - ours)):
        if missing:
            raise UserError(
                f"{folder}: {first} and {second} must list the same utterances, but {name} lacks "
                f"{len(missing)}, such as {min(missing)!r}; correct them, as with Kaldi's "
                "utils/fix_data_dir.sh"
            )


def _attributes(folder: Path, of: str) -> dict[str, _Table]:
    """The files ``spk2X`` or ``utt2X``, by X."""
    found = {}
    for file in entries(folder):
        match = _ATTRIBUTES.fullmatch(file.name)
        if match and match["of"] == of and file.name not in _NO_ATTRIBUTES and file.is_file():
            found[match["name"]] = _table(file)
    return found


def _of_one(attributes: Mapping[str, _Table], key: str) -> dict[str, str]:
    return {
        name: table[key].value
        for name, table in attributes.items()
        if key in table and table[key].value
    }


def _optional(file: Path) -> _Table:
    return _table(file) if file.exists() else {}


def _table(file: Path) -> _Table:
    """The lines of `file`, each with a key of its own."""
    table: _Table = {}
    for number, line in enumerate(split_lines(read_text(file, "Kaldi's file")), start=1):
        key, *value = _BLANKS.split(line.strip(" \t"), maxsplit=1)
        if key:
            _add(table, key, _Entry(where=f"{file}:{number}", value="".join(value)))
    return table


def _add(table: _Table, key: str, entry: _Entry) -> None:
    if key in table:
        raise UserError(
            f"{entry.where}: {key!r} is there already ({table[key].where}); remove one of the two"
        )
    table[key] = entry


KALDI = CorpusSpec(
    name="kaldi",
    summary="a Kaldi recipe's data/{train,dev,test}, with wav.scp, text, utt2spk, segments, …",
    source="the folder or tar archive given as kaldi:PATH",
    read=_read,
)
