"""Ids for utterances without one, from the name of the recording."""

from pathlib import Path

AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".sph", ".raw", ".pcm", ".aif", ".aiff",
    ".au", ".caf", ".w64", ".m4a", ".mp4", ".aac", ".webm", ".wma", ".amr",
)  # fmt: skip
"""Suffixes of recordings. Any other text after a dot is part of a name: ``meeting.2``."""
_DIGITS = 6
"""Digits after the point of an offset in seconds; offsets are distinguished to a microsecond."""


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
