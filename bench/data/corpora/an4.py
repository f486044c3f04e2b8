"""AN4: people spell names and answer census questions (CMU 1991, 16 kHz).

Source: Acero, "Acoustical and environmental robustness in automatic speech recognition", Kluwer
1993; recordings at https://github.com/cmusphinx/an4.

CMU's layout: ``etc/an4_{train,test}.transcription`` and ``.fileids``, audio as flac, wav, sph or
raw anywhere beside it.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.parsing import split_lines
from bench.core.paths import read_text
from bench.data.corpora.folders import unpacked
from bench.data.corpora.spec import CorpusConfig, CorpusSpec, Listing, Row

PLACES_VARIABLE = "BENCH_CORPORA"
"""Folders, separated as in PATH, to look for corpora in when no path is given."""

_DEFAULT_PLACES = "data"
_AUDIO_SUFFIXES = (".raw", ".sph", ".wav", ".flac")
"""In increasing order of preference, for a recording that exists in several formats."""
_LINE = re.compile(r"(?P<words>.*)\((?P<id>[^\s()]+)\)")
_TEST_SHARE, _VALID_SHARE = 7, 10
"""One of this many training speakers is held out if the corpus names no test or validation
speakers: 10 and 7 of 74."""
_NO_TEST = (
    "the official test part of AN4 is absent: test is {count} held-out training speakers, "
    "so error rates do not compare with published ones"
)

_TUNING = "no test split: for choosing a setting on valid, with every other training speaker"
_WHOLE = "no valid and no test split: for training a setting that was chosen before"


def _read_whole(config: CorpusConfig, progress: ProgressCallback | None) -> Listing:
    root = _root(config.path)
    return Listing(rows=tuple(_part(root, "train", _recordings(root))), notes=(_WHOLE,))


def _read(
    config: CorpusConfig, progress: ProgressCallback | None, *, with_test: bool = True
) -> Listing:
    root = _root(config.path)
    audio = _recordings(root)
    rows = _part(root, "train", audio)
    held_out = dict.fromkeys(_valid_speakers(root, rows), "valid")
    official_test: list[Row] = []
    notes: tuple[str, ...] = ()
    if not with_test:
        notes = (_TUNING,)
    elif (root / "etc" / "an4_test.transcription").is_file():
        official_test = _part(root, "test", audio)
    else:
        speakers = _in_hash_order(rows)
        free = [speaker for speaker in speakers if speaker not in held_out]
        chosen = free[: max(1, len(speakers) // _TEST_SHARE)]
        held_out |= dict.fromkeys(chosen, "test")
        notes = (_NO_TEST.format(count=len(chosen)),)
    # Speakers are dealt whole, so that splits share none.
    dealt = (replace(row, split=held_out.get(row.speaker, "train")) for row in rows)
    return Listing(rows=(*dealt, *official_test), notes=notes)


def _recordings(root: Path) -> dict[str, Path]:
    """The file of each recording by name, in the preferred format."""
    return {
        path.stem: path
        for suffix in _AUDIO_SUFFIXES
        for path in sorted(root.rglob(f"*{suffix}"))
    }  # fmt: skip


def _part(root: Path, part: str, audio: dict[str, Path]) -> list[Row]:
    """The utterances of ``etc/an4_PART``; a file id reads ``…/SPEAKER/ID``."""
    names = root / "etc" / f"an4_{part}.fileids"
    transcripts = root / "etc" / f"an4_{part}.transcription"
    texts = _transcripts(transcripts)
    if not names.is_file():
        raise UserError(f"an4 needs {names}, which does not exist; restore CMU's etc folder")
    rows = []
    for line in read_text(names, "file ids").split():
        name, speaker = Path(line).name, Path(line).parent.name
        if name not in texts:
            raise UserError(f"{names} lists {name!r}, but {transcripts} has no line for it; add it")
        if name not in audio:
            raise UserError(
                f"an4 utterance {name!r} has no flac, wav, sph or raw under {root}; unpack its "
                "audio there"
            )
        rows.append(Row(id=name, audio=audio[name], text=texts[name], speaker=speaker, split=part))
    if unlisted := texts.keys() - {row.id for row in rows}:
        raise UserError(
            f"{transcripts} has a line for {min(unlisted)!r}, which {names} does not list; add it, "
            "or remove the line"
        )
    return rows


def _transcripts(path: Path) -> dict[str, str]:
    texts = {}
    for number, line in enumerate(split_lines(read_text(path, "transcripts")), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise UserError(
                f"{path}:{number}: a line reads `<s> WORDS </s> (ID)`, got {line[:60]!r}; correct "
                "the line"
            )
        if match["id"] in texts:
            raise UserError(
                f"{path}:{number}: {match['id']!r} has a line already; remove one of the two"
            )
        words = match["words"].strip().removeprefix("<s>").removesuffix("</s>")
        texts[match["id"]] = words.strip()
    return texts


def _valid_speakers(root: Path, train: Sequence[Row]) -> list[str]:
    listed = root / "dev_speakers.txt"
    if listed.is_file():
        return read_text(listed, "speakers").split()
    order = _in_hash_order(train)
    return order[: max(1, len(order) // _VALID_SHARE)]


def _in_hash_order(rows: Sequence[Row]) -> list[str]:
    """Speakers in the order of a hash of their names, the same on every machine."""
    return sorted({row.speaker for row in rows}, key=lambda s: hashlib.sha256(s.encode()).digest())


def _root(path: str | None) -> Path:
    """The folder that holds ``etc/``; archives are unpacked first."""
    places = [path] if path else os.environ.get(PLACES_VARIABLE, _DEFAULT_PLACES).split(os.pathsep)
    for place in map(Path, places):
        for folder in (place, place / "an4"):
            if (folder / "etc" / "an4_train.transcription").is_file():
                return folder
        archives = (
            [place]
            if place.is_file()
            else sorted({*place.glob("an4*.tar"), *place.glob("an4*.tar.gz")})
        )
        if archives:
            return _root_in(unpacked(archives), archives)
    raise UserError(
        f"no an4 (a folder with etc/an4_train.transcription, or an4*.tar) in {', '.join(places)}; "
        f"write --corpus an4:PATH or set {PLACES_VARIABLE}"
    )


def _root_in(folder: Path, archives: Sequence[Path]) -> Path:
    found = sorted(folder.rglob("etc/an4_train.transcription"))
    if not found:
        raise UserError(
            f"no etc/an4_train.transcription in {', '.join(map(str, archives))}; give CMU's archive"
        )
    return found[0].parent.parent


AN4 = CorpusSpec(
    name="an4",
    summary="CMU's census recordings: 948 + 130 utterances of 84 speakers, about 100 words",
    source="https://github.com/cmusphinx/an4 (BSD-style licence)",
    read=_read,
)
AN4_DEV = CorpusSpec(
    name="an4-dev",
    summary="an4's training part alone, without a test split: for tuning with bench.train",
    source=AN4.source,
    read=partial(_read, with_test=False),
)
AN4_ALL = CorpusSpec(
    name="an4-all",
    summary="an4's training part whole: for training a setting chosen on an4-dev once more",
    source=AN4.source,
    read=_read_whole,
)
