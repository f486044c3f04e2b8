"""A corpus before validation: its spec, its config, the rows that its reader lists."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from bench.core.config import from_dict
from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.paths import exists, user_path
from bench.data.utterance import Snippet

_URL = re.compile(r"[A-Za-z][\w+.-]+:/")
"""One slash: a path has lost the second."""
COLUMNS = ("audio", "text", "speaker", "id", "split")
"""The columns to which ``--columns`` can give other names."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Which corpus, its path, and how to treat utterances that cannot be used."""

    name: str = "spoken"
    """One of bench.data.corpora.CORPORA."""
    path: str | None = None
    """Folder, archive or file; None if the corpus has default paths or is synthesised."""
    added: tuple[str, ...] = ()
    """Further corpora, each as NAME[:PATH], whose train splits are joined to this one's; valid,
    test and watch are this one's alone."""
    channel: int | None = None
    """The channel, from 0, to use of recordings with several; None: those are an error."""
    text: Literal["error", "drop"] = "error"
    """An utterance whose transcript has symbols outside the alphabet stops the command or is left
    out.
    """
    audio: Literal["error", "drop"] = "error"
    """An utterance whose recording is missing or cannot be decoded to its end stops the command or
    is left out.
    """
    columns: str | None = None
    """Other names of columns, as in ``text=sentence,audio=file``; None: the usual ones."""
    max_seconds: float = 30.0
    """Longer utterances are left out."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.channel is not None and self.channel < 0:
            raise ValueError(f"channel counts from 0, got {self.channel}; name an existing channel")
        parse_columns(self.columns)
        if twice := [given for given in self.added if (self.first, *self.added).count(given) > 1]:
            raise ValueError(f"a corpus is joined once, got {twice[0]} twice; leave one out")
        if not self.max_seconds > 0:
            raise ValueError(f"max_seconds must be above 0, got {self.max_seconds}; 30 is usual")

    @classmethod
    def parse(cls, given: str, **others: str | int | None) -> Self:
        """The config of one corpus, NAME[:PATH], with `others` of its fields.
        bench.data.corpora.parse_corpus reads joined ones too.

        Raises:
            UserError: no name, or a value out of range.
        """
        name, _, path = given.partition(":")
        if not name:
            raise UserError(f"--corpus reads NAME[:PATH], got {given!r}; write for instance an4")
        _check_local(name, path)
        place = str(user_path(path, "--corpus")) if path else None
        return from_dict(cls, {"name": name, "path": place} | others)

    @property
    def first(self) -> str:
        """The first corpus as NAME[:PATH]."""
        return self.name if self.path is None else f"{self.name}:{self.path}"

    @property
    def given(self) -> str:
        """As ``--corpus`` takes it."""
        return "+".join((self.first, *self.added))

    @property
    def parts(self) -> dict[str, Self]:
        """The joined corpora, each by a label: its name, or NAME-2 for the second of that name."""
        parts: dict[str, Self] = {}
        for given in (self.first, *self.added):
            name, _, path = given.partition(":")
            count = 1 + sum(part.name == name for part in parts.values())
            label = name if count == 1 else f"{name}-{count}"
            parts[label] = replace(self, name=name, path=path or None, added=())
        return parts

    @property
    def title(self) -> str:
        """Name for people, files and studies: the labels of its parts, as in ``kaldi+spoken``."""
        return "+".join(self.parts)

    def required_path(self) -> Path:
        """The file or folder to read, for a corpus without default paths.

        Raises:
            UserError: none given, an address on the net, or nothing there.
        """
        if self.path is None:
            raise UserError(f"{self.name} needs its path; write --corpus {self.name}:PATH")
        _check_local(self.name, self.path)
        path = Path(self.path)
        if not exists(path) or not (path.is_file() or path.is_dir()):
            raise UserError(
                f"{self.name}: {self.path} does not exist as a file or folder; correct the path"
            )
        return path


def parse_columns(given: str | None) -> dict[str, str]:
    """By our name of a column, the corpus's own, of ``--columns text=sentence,audio=file``.

    Raises:
        ValueError: no such pairs, a name of ours that is unknown, or one that is there twice.
    """
    names: dict[str, str] = {}
    for pair in given.split(",") if given is not None else ():
        ours, _, theirs = (part.strip() for part in pair.partition("="))
        if not theirs:
            raise ValueError(f"columns are OURS=THEIRS,…, got {pair!r}; write text=sentence")
        if ours not in COLUMNS:
            raise ValueError(f"columns of ours are {', '.join(COLUMNS)}, got {ours!r}; choose one")
        if ours in names:
            raise ValueError(f"columns name each of ours once, got {ours} twice; remove one")
        names[ours] = theirs
    return names


def _check_local(name: str, path: str) -> None:
    if _URL.match(path):
        raise UserError(
            f"--corpus {name}:PATH names a file or folder of this machine, got the address {path}; "
            "download it first"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One utterance as a reader lists it, nothing checked."""

    id: str
    audio: Path
    text: str
    """As the corpus has it, not normalised."""
    speaker: str
    split: str
    """One of bench.data.utterance.SPLITS."""
    snippet: Snippet | None = None
    """The part of `audio` that is the utterance; None: all of it."""
    channel: int | None = None
    """The channel that is the utterance; None: the one that ``--channel`` names."""
    corpus: str = ""
    """Label of the joined corpus that lists it (CorpusConfig.parts); "" if none are joined."""
    claimed_seconds: float | None = None
    """The duration that the corpus states; None: it states none."""
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Any further column, as text: age, gender, accent, …"""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The rows that a reader found."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """Remarks for readers of results."""


def unnamed_speaker(id: str) -> str:
    """The stand-in for the speaker of utterance `id`."""
    return f"unknown-{id}"


@dataclass(frozen=True, kw_only=True)
class CorpusSpec:
    """One row of the table of corpora."""

    name: str
    summary: str
    """One line for people."""
    source: str
    """Where the recordings come from."""
    read: Callable[[CorpusConfig, ProgressCallback | None], Listing]
    """Lists the utterances; raises UserError where the corpus is not what it should be."""
    has_columns: bool = False
    """True if ``--columns`` can rename its columns."""

    def listing(self, config: CorpusConfig, progress: ProgressCallback | None = None) -> Listing:
        """The utterances of the corpus `config`, nothing checked.

        Raises:
            UserError: as `read`; ``--columns`` for a corpus without columns.
        """
        if config.columns is not None and not self.has_columns:
            raise UserError(
                f"--columns goes with corpora that are tables (manifest, hf), got {self.name}; "
                "leave it out"
            )
        listing = self.read(config, progress)
        return replace(listing, notes=_nameless_speakers(listing.rows) + listing.notes)


def _nameless_speakers(rows: Sequence[Row]) -> tuple[str, ...]:
    """A note on utterances without a speaker; () if there are none."""
    count = sum(row.speaker == unnamed_speaker(row.id) for row in rows)
    note = f"{count} utterances name no speaker: each counts as a speaker of its own"
    return (note,) if count else ()
