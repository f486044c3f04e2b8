"""What an utterance is called whose corpus does not name it: after its recording."""

from pathlib import Path

AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".sph", ".raw", ".pcm", ".aif", ".aiff",
    ".au", ".caf", ".w64", ".m4a", ".mp4", ".aac", ".webm", ".wma", ".amr",
)  # fmt: skip
"""Of recordings. Whatever else follows a dot is part of a name: ``meeting.2``, ``dr. who``."""
_DIGITS = 6
"""Of an offset in seconds; cuts closer than a microsecond are one."""


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
