"""Lhotse's manifests of cuts. Żelasko et al., "Lhotse: a speech data representation library for the
modern deep learning ecosystem", 2021, arXiv:2110.12561.

PATH is a file ``CUTS.jsonl`` or ``CUTS.jsonl.gz``, or a folder with one per split:
``cuts_train.jsonl.gz``, ``cuts_dev.jsonl.gz``, ``cuts_test.jsonl.gz``. Of a file alone each
supervision names its split as a custom field ``split``, unless the file's name does.

Each supervision is an utterance, as after Lhotse's ``trim_to_supervisions``: the part of the
recording that it and its cut share, in its channel. Gender, language and further plain fields are
its attributes; cuts without supervisions, as those of pauses, are counted in a note.

Files of recordings are read where they are: relative paths begin at the manifest's folder, or at
the working folder if the recording is not there. What is not a recording as it was made is refused:
mixtures, padding, changes of speed or volume, commands, addresses, and recordings in Lhotse's
archives (Shar).
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.paths import exists
from bench.data.corpora.folders import holds, read_by_library
from bench.data.corpora.manifest import rows_of_file, rows_of_split, tables_by_split
from bench.data.corpora.rows import recording
from bench.data.corpora.spec import CorpusConfig, CorpusSpec, Listing, Row, unnamed_speaker
from bench.data.utterance import Snippet

if TYPE_CHECKING:
    from lhotse import MonoCut, Recording, SupervisionSegment

_SUFFIXES = (".jsonl",)
_DIGITS = 9
"""Digits after the point of seconds: 2.3 - 2.1 is 0.19999999999999973."""
_PLAIN = (str, int, float, bool)


def _read(config: CorpusConfig, progress: ProgressCallback | None) -> Listing:
    path = config.required_path()
    silent: list[str] = []
    read = partial(_rows, silent=silent)
    if path.is_file():
        rows = rows_of_file(path, read)
    else:
        files = tables_by_split(path, _SUFFIXES)
        if not files:
            raise UserError(
                f"lhotse: no cuts_train, cuts_dev or cuts_test (.jsonl, .jsonl.gz) in {path}; "
                f"{holds(path)}; rename the manifests, or give one whose supervisions have a "
                "custom field 'split'"
            )
        rows = [row for split, file in files.items() for row in rows_of_split(file, split, read)]
    if not rows:
        raise UserError(f"lhotse: {path} has no cuts with a supervision; give such cuts")
    notes = (f"{len(silent)} cuts have no supervision and are not read",) if silent else ()
    return Listing(rows=tuple(rows), notes=notes)


def _rows(file: Path, silent: list[str]) -> Iterator[tuple[str, Row]]:
    """The utterances of the manifest `file`, each with ``file:line``; ids of cuts without any are
    added to `silent`."""
    try:
        from lhotse import CutSet, MonoCut
    except ImportError as error:
        raise UserError(
            f"corpus lhotse is read by lhotse, which is not installed ({error}); run: pip install "
            "'deepspeech-bench[lhotse]'"
        ) from error
    fault, way_out = "Lhotse cannot read a cut there", "correct the line"
    with read_by_library(f"{file}: {fault}", way_out):
        cuts = iter(CutSet.from_jsonl_lazy(file))
    for number in count(1):
        where = f"{file}:{number}"
        with read_by_library(f"{where}: {fault}", way_out):
            cut = next(cuts, None)
        if cut is None:
            return
        if not isinstance(cut, MonoCut):
            raise UserError(
                f"{where}: a cut is one channel of a recording (MonoCut), got {type(cut).__name__} "
                f"{cut.id!r}; make cuts before mixing and padding, by channel"
            )
        if not cut.supervisions:
            silent.append(cut.id)
        for supervision in cut.supervisions:
            yield where, _row(where, cut, supervision, file.parent)


def _row(where: str, cut: "MonoCut", supervision: "SupervisionSegment", folder: Path) -> Row:
    if not isinstance(supervision.text, str):
        raise UserError(
            f"{where}: supervision {supervision.id!r} has no text, got {supervision.text!r}; "
            "transcribe or remove it"
        )
    if cut.recording is None:
        raise UserError(
            f"{where}: cut {cut.id!r} has no recording, only features perhaps; make cuts of "
            "recordings"
        )
    audio, channel = _source(where, cut.recording, cut.channel, folder)
    snippet, claimed = _span(where, cut, supervision)
    custom: Mapping[str, object] = supervision.custom or {}
    others = {"gender": supervision.gender, "language": supervision.language, **custom}
    return Row(
        id=supervision.id,
        audio=audio,
        text=supervision.text,
        speaker=supervision.speaker or unnamed_speaker(supervision.id),
        split=str(custom.get("split", "")).casefold(),
        snippet=snippet,
        channel=channel,
        claimed_seconds=claimed,
        attributes={
            name: str(value)
            for name, value in others.items()
            if name != "split" and isinstance(value, _PLAIN) and value != ""
        },
    )


def _source(where: str, audio: "Recording", channel: int, folder: Path) -> tuple[Path, int | None]:
    """The file that holds a channel of the recording, and which channel of the file that is; None
    where it is the only one."""
    if audio.transforms:
        raise UserError(
            f"{where}: recording {audio.id!r} is changed ({len(audio.transforms)} transforms); "
            "make cuts of recordings as they were made"
        )
    # A recording may be in several files, each with some of its channels:
    #
    #     a.wav    channels 0 1
    #     b.wav    channels 2 3      channel 3 is column 1 of b.wav
    source = next((source for source in audio.sources if channel in source.channels), None)
    if source is None:
        raise UserError(
            f"{where}: recording {audio.id!r} has no channel {channel}; correct the cut"
        )
    if source.type != "file" or not isinstance(source.source, str):
        raise UserError(
            f"{where}: recording {audio.id!r} is a {source.type}, which is not run, loaded or "
            "unpacked here; save it as a file: cuts.save_audios(FOLDER)"
        )
    path = recording(source.source, folder, f"{where}: recording {audio.id!r}")
    if not exists(path) and exists(Path(source.source)):
        path = Path(source.source)
    column = list(source.channels).index(channel)
    return path, column if len(source.channels) > 1 else None


def _span(
    where: str, cut: "MonoCut", supervision: "SupervisionSegment"
) -> tuple[Snippet | None, float | None]:
    """The part of the recording, and what its length is claimed to be; None for the whole."""
    assert cut.recording is not None
    #     recording      |--------------------------|
    #     cut                [----------------]
    #     supervision           [-----]                 its start counts from the cut's
    begin = max(0.0, supervision.start)
    end = min(cut.duration, supervision.start + supervision.duration)
    if end <= begin:
        raise UserError(
            f"{where}: supervision {supervision.id!r} lies outside its cut, from "
            f"{supervision.start:g} to {supervision.end:g} of {cut.duration:g} s; correct it"
        )
    start, seconds = round(cut.start + begin, _DIGITS), round(end - begin, _DIGITS)
    if start == 0 and seconds == round(cut.recording.duration, _DIGITS):
        return None, seconds
    return Snippet(start_seconds=start, seconds=seconds), None


LHOTSE = CorpusSpec(
    name="lhotse",
    summary="Lhotse's cuts: cuts_{train,dev,test}.jsonl.gz, or one file with a custom field split",
    source="the file or folder given as lhotse:PATH; https://lhotse.readthedocs.io",
    read=_read,
)
