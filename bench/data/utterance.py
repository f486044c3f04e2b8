"""An utterance, its id where it has none of its own, and a corpus of utterances."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SNR = "snr"
CORPUS = "corpus"
SPLITS = ("train", "valid", "test", "watch")
"""`watch` is neither trained on nor scored; its transcripts are recorded at each evaluation."""
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".sph", ".raw", ".pcm", ".aif", ".aiff",
    ".au", ".caf", ".w64", ".m4a", ".mp4", ".aac", ".webm", ".wma", ".amr",
)  # fmt: skip
"""Suffixes of recordings. Any other text after a dot is part of a name: ``meeting.2``."""
_DIGITS = 6
"""Digits after the point of an offset in seconds; offsets are distinguished to a microsecond."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snippet:
    """The part of a recording that an utterance is cut from."""

    start_seconds: float
    """Seconds from the start of the recording, 0 or more."""
    seconds: float | None = None
    """Length of the part; None: to the recording's end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One recording with its transcript, validated: readable, not empty, text within the
    alphabet."""

    id: str
    """Unique within its corpus."""
    audio: Path
    sample_rate_hz: int
    channel: int | None
    """The channel to read of a recording with several; None for a recording with one."""
    text: str
    """Normalised transcript (see bench.data.text)."""
    speaker: str
    split: str
    """One of SPLITS."""
    seconds: float
    """Of the utterance, as decoded; of the snippet where there is one."""
    audio_digest: str
    """Of the file's bytes and, where there is one, the snippet."""
    snippet: Snippet | None = None
    """The part of `audio` that is the utterance; None: all of it."""
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What else the corpus says of utterance and speaker: ``{"gender": "f", "age": "9"}``; under
    SNR the estimate of bench.data.noise in whole dB, under CORPUS the label of a joined corpus,
    unless the corpus has one of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExcludedUtterance:
    """An utterance that is not used, and why."""

    id: str
    split: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Validated utterances of every split."""

    name: str
    utterances: tuple[Utterance, ...]
    left_out: tuple[ExcludedUtterance, ...] = ()
    leakage: dict[str, int] = field(default_factory=dict)
    """Utterances that two splits share: ``{"train/test same text": 26, …}``; counts above 0."""
    notes: tuple[str, ...] = ()
    """Remarks for readers of results, such as that the test split is part of the training part."""
    digest: str = ""
    """Digest of the content: ids, texts, speakers, splits and audio digests. Of joined corpora that
    of the first as if it were alone, a plus, and that of what the others add; see `task_digest`."""

    def split(self, name: str) -> tuple[Utterance, ...]:
        """The utterances of one split, in the corpus's order."""
        return tuple(u for u in self.utterances if u.split == name)


def task_digest(digest: str) -> str:
    """The part of a corpus's digest that says what is tested on: the first of joined corpora."""
    return digest.partition("+")[0]


def without_suffix(audio: str) -> str:
    """The path `audio` without the suffix of a recording, if it has one."""
    path = Path(audio)
    return str(path.with_suffix("") if path.suffix.lower() in AUDIO_SUFFIXES else path)


def utterance_id(audio: str, start_seconds: float | None = None) -> str:
    """The id of the recording `audio`, a path as a manifest has it, or of the snippet of it that
    begins at `start_seconds`: ``meet/call_07``, ``meet/call_07@2.1``."""
    name = without_suffix(audio)
    if start_seconds is None:
        return name
    return f"{name}@{round(start_seconds, _DIGITS):.15g}"
