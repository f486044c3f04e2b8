"""LibriSpeech: read books, 960 hours. Panayotov et al., ICASSP 2015; https://www.openslr.org/12.

Also its mini sets (https://www.openslr.org/31) and copies of it in other forms than FLAC.
"""

from collections.abc import Mapping
from pathlib import Path

from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.parsing import split_lines
from bench.core.paths import read_text
from bench.data.corpora.folders import entries, holds
from bench.data.corpora.spec import CorpusConfig, CorpusSpec, Listing, Row

_FOLDER = "LibriSpeech"
_SETS = {"valid": ("dev-clean", "dev-clean-2"), "test": ("test-clean",)}
"""Sets that a split may be, the second of the mini corpus; train is every ``train-*``."""
_SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3")
"""In decreasing order of preference, for a recording that exists in several formats."""
_SPEAKERS = "SPEAKERS.TXT"


def _read(config: CorpusConfig, progress: ProgressCallback | None) -> Listing:
    given = config.required_path()
    root = given / _FOLDER if (given / _FOLDER).is_dir() else given
    sets = _sets(root)
    missing = [split for split in ("train", *_SETS) if not sets[split]]
    if len(missing) == len(sets):
        raise UserError(
            f"librispeech: none of its sets (train-*, {', '.join(sum(_SETS.values(), ()))}) is in "
            f"{root}; {holds(root)}; {_download(given, 'train-clean-100')}"
        )
    genders = _genders(root / _SPEAKERS)
    rows = [
        row
        for split, names in sets.items()
        for name in names
        for row in _rows(root / name, split, genders)
    ]
    used = ", ".join(f"{split} is {' + '.join(names)}" for split, names in sets.items() if names)
    absent = [
        f"no {split} split: {wanted} is not in {root}; {_download(given, wanted)}"
        for split in missing
        for wanted in (_SETS[split][0] if split in _SETS else "train-clean-100",)
    ]
    return Listing(rows=tuple(rows), notes=(used, *absent))


def _sets(root: Path) -> dict[str, list[str]]:
    """The names of the sets in `root`, by the split they are."""
    found = [folder.name for folder in entries(root) if folder.is_dir()] if root.is_dir() else []
    sets = {"train": [name for name in found if name.startswith("train-")]}
    for split, names in _SETS.items():
        sets[split] = [name for name in names if name in found]
        if len(sets[split]) > 1:
            raise UserError(
                f"librispeech: one set is {split}, but {root} has {' and '.join(sets[split])}; "
                "move one elsewhere"
            )
    return sets


def _download(folder: Path, name: str) -> str:
    return (
        f"download it: mkdir -p '{folder}' && python -c \"from torchaudio.datasets import "
        f"LIBRISPEECH; LIBRISPEECH('{folder}', '{name}', download=True)\""
    )


def _rows(folder: Path, split: str, genders: Mapping[str, str]) -> list[Row]:
    """The utterances of one set: SPEAKER/CHAPTER/*.trans.txt, whose lines read ``ID TEXT``."""
    rows = []
    for transcripts in sorted(folder.glob("*/*/*.trans.txt")):
        audio = {path.name for path in entries(transcripts.parent)}
        for number, line in enumerate(split_lines(read_text(transcripts, "transcripts")), start=1):
            if not line.strip():
                continue
            name, _, text = line.partition(" ")
            if not name or "/" in name:
                raise UserError(
                    f"{transcripts}:{number}: a line reads `ID TEXT`, got {line[:60]!r}; correct "
                    "the line"
                )
            speaker = name.partition("-")[0]
            suffix = next((s for s in _SUFFIXES if name + s in audio), _SUFFIXES[0])
            rows.append(
                Row(
                    id=name,
                    audio=transcripts.with_name(name + suffix),
                    text=text,
                    speaker=speaker,
                    split=split,
                    attributes={"gender": genders[speaker]} if speaker in genders else {},
                )
            )
    return rows


def _genders(file: Path) -> dict[str, str]:
    """ "f" or "m" by speaker, from lines that read ``ID | SEX | SUBSET | MINUTES | NAME``."""
    if not file.is_file():
        return {}
    lines = [line for line in split_lines(read_text(file, "speakers")) if not line.startswith(";")]
    fields = [[field.strip() for field in line.split("|")] for line in lines if "|" in line]
    return {speaker: gender.lower() for speaker, gender, *_ in fields}


LIBRISPEECH = CorpusSpec(
    name="librispeech",
    summary="read English books: every train-* set found, dev-clean, test-clean; mini sets too",
    source="https://www.openslr.org/12 (CC BY 4.0)",
    read=_read,
)
