"""Facts and faults of recordings: each is decoded once, to its end, for all its snippets."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from bench.core.config import digest
from bench.core.cores import ordered_map
from bench.core.files import write_text
from bench.core.paths import writing_cache
from bench.data.noise import SnrMeter
from bench.data.recording import (
    AudioError,
    FloatArray,
    check_snippet,
    chosen_channel,
    open_recording,
    snippet_range,
)
from bench.data.utterance import Snippet

EXAMINATION_VERSION = "2"
"""Raised when the rules here or in bench.data.recording change, so that cached results of the old
rules are not used."""

FULL_SCALE = 0.999
"""A sample from here on counts as clipped."""


@dataclass(frozen=True, slots=True)
class Part:
    """What to examine: a channel of a recording, or a snippet of it."""

    audio: Path
    channel: int | None
    snippet: Snippet | None


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """A part of a recording that can be used."""

    sample_rate_hz: int
    channel: int | None
    """None for a recording that has only one."""
    seconds: float
    """As decoded."""
    digest: str
    """Of the file's bytes and, where the part is not all of it, of the samples' range."""
    peak: float
    """The largest sample's magnitude; 1 is full scale."""
    clipped_share: float
    """Of the samples, those at full scale."""
    snr_db: float | None
    """The estimate of bench.data.noise; None if the part is too short for one."""


@dataclass(frozen=True, slots=True)
class AudioFault:
    """A part that cannot be used."""

    kind: str
    """What it is counted under."""
    fault: str
    way_out: str


Found = AudioFacts | AudioFault
_NUM_FACTS = len(fields(AudioFacts))


class ExaminationCache:
    """Results on disk, by recording; a result is valid while size and time of the recording stay
    the same."""

    def __init__(self, path: Path) -> None:
        """Load the results in `path`; none if the file is damaged.

        The entry of a recording is its stamp (size and time) and, by part, the values of an
        AudioFacts or AudioFault.
        """
        self._path = path
        self._version = digest([EXAMINATION_VERSION, soundfile.__libsndfile_version__])
        self._files: dict[str, tuple[list[int], dict[str, list[Any]]]] = {}
        self._changed = False
        try:
            stored = json.loads(path.read_bytes())
            if stored["version"] == self._version:
                self._files = dict(stored["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return

    def get(self, part: Part, stamp: Sequence[int]) -> Found | None:
        """The result for `part` of a recording with this stamp, or None."""
        try:
            known_stamp, known = self._files[str(part.audio)]
            if known_stamp != list(stamp):
                return None
            values = known[_name(part)]
            # Facts and faults are told apart by their number of values.
            return AudioFacts(*values) if len(values) == _NUM_FACTS else AudioFault(*values)
        except (KeyError, TypeError, ValueError):
            return None

    def put(self, part: Part, stamp: Sequence[int], found: Found) -> None:
        """Store the result for `part`."""
        entry = self._files.get(str(part.audio))
        if entry is None or entry[0] != list(stamp):
            entry = self._files[str(part.audio)] = (list(stamp), {})
        entry[1][_name(part)] = list(astuple(found))
        self._changed = True

    def save(self) -> None:
        """Write new results to disk.

        Raises:
            UnwritableError: the disk is full, or the folder cannot be written; names the variable.
        """
        if self._changed:
            stored = {"version": self._version, "files": self._files}
            with writing_cache(self._path):
                write_text(self._path, json.dumps(stored))


def examine(
    parts: Iterable[Part], cache: ExaminationCache, tick: Callable[[int], None] = lambda count: None
) -> dict[Part, Found]:
    """The facts or the fault of each part; files are decoded in parallel, each once.

    New results are saved in the cache, also after an interrupt. `tick` is called with the number of
    parts done since the last call.
    """
    found: dict[Part, Found] = {}
    todo: dict[Path, list[Part]] = {}
    stamps: dict[Path, tuple[int, ...]] = {}
    for part in parts:
        if part.audio not in stamps:
            stamps[part.audio] = _stamp(part.audio)
        known = cache.get(part, stamps[part.audio])
        if known is None:
            todo.setdefault(part.audio, []).append(part)
        else:
            found[part] = known
    tick(len(found))
    try:
        for own, results in zip(todo.values(), ordered_map(_examined, todo.values()), strict=True):
            for part, result in zip(own, results, strict=True):
                found[part] = result
                # What could not be found has no stamp; it may be there the next time.
                if stamp := stamps[part.audio]:
                    cache.put(part, stamp, result)
            tick(len(own))
    finally:
        cache.save()
    return found


def _examined(parts: Sequence[Part]) -> list[Found]:
    """Of parts of one file."""
    # A channel is decoded once for all its snippets: corpora cut hundreds out of one recording.
    by_channel: dict[int | None, list[Part]] = {}
    for part in parts:
        by_channel.setdefault(part.channel, []).append(part)
    found: dict[Part, Found] = {}
    for channel, own in by_channel.items():
        try:
            found |= _decoded(own, channel)
        except AudioError as error:
            found |= dict.fromkeys(own, _fault(error))
    return [found[part] for part in parts]


def _decoded(parts: Sequence[Part], channel: int | None) -> dict[Part, Found]:
    """Of parts of one channel of one file."""
    audio = parts[0].audio
    with open_recording(audio) as recording:
        rate = recording.sample_rate_hz
        column = chosen_channel(audio, recording.num_channels, channel)
        # One pass over the samples serves all parts; each meter takes what lies in its range:
        #
        #     blocks    [ block 0 ][ block 1 ][ block 2 ]
        #     part a        [--------]
        #     part b                    [------------]
        meters = {part: _Meter(rate, *snippet_range(part.snippet, rate)) for part in parts}
        num_frames = 0
        for block_N in recording.blocks(channel):
            for meter in meters.values():
                meter.add(block_N, num_frames)
            num_frames += len(block_N)
        file_digest = _file_digest(audio)
    found: dict[Part, Found] = {}
    for part, meter in meters.items():
        try:
            if part.snippet is not None:
                check_snippet(audio, part.snippet, num_frames, rate)
            found[part] = meter.facts(num_frames, rate, column, file_digest)
        except AudioError as error:
            found[part] = _fault(error)
    return found


class _Meter:
    """Gathers the facts of samples `start` to before `stop`."""

    def __init__(self, sample_rate_hz: int, start: int, stop: int | None) -> None:
        self._start, self._stop = start, stop
        self._snr = SnrMeter(sample_rate_hz)
        self._peak = 0.0
        self._num_clipped = 0

    def add(self, block_N: FloatArray, position: int) -> None:
        """Add a block of samples that begins at `position` of the recording."""
        low = max(0, self._start - position)
        high = len(block_N) if self._stop is None else min(len(block_N), self._stop - position)
        if low >= high:
            return
        self._snr.add(block_N[low:high])
        magnitudes_N = np.abs(block_N[low:high])
        peak = float(magnitudes_N.max())
        self._peak = max(self._peak, peak)
        if peak >= FULL_SCALE:
            self._num_clipped += int(np.count_nonzero(magnitudes_N >= FULL_SCALE))

    def facts(
        self, num_frames: int, rate: int, channel: int | None, file_digest: str
    ) -> AudioFacts:
        """The facts, for a recording of `num_frames` samples."""
        stop = num_frames if self._stop is None else min(self._stop, num_frames)
        is_whole = (self._start, stop) == (0, num_frames)
        length = stop - self._start
        return AudioFacts(
            sample_rate_hz=rate,
            channel=channel,
            seconds=length / rate,
            digest=file_digest if is_whole else digest([file_digest, self._start, stop]),
            peak=round(self._peak, 6),
            clipped_share=round(self._num_clipped / length, 6),
            snr_db=self._snr.snr_db(),
        )


def _file_digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def _stamp(path: Path) -> tuple[int, ...]:
    """Size and time of a file; empty if there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: no path at all, with a NUL in it
        return ()
    return status.st_size, status.st_mtime_ns


def _name(part: Part) -> str:
    snippet = part.snippet
    return json.dumps([part.channel, snippet and [snippet.start_seconds, snippet.seconds]])


def _fault(error: AudioError) -> AudioFault:
    return AudioFault(kind=error.kind, fault=error.fault, way_out=error.way_out)
