"""Common Voice: sentences read by volunteers, one folder a language. Ardila et al., LREC 2020.

``train.tsv``, ``dev.tsv`` and ``test.tsv`` beside ``clips/``; its other tables (``validated.tsv``,
``other.tsv``, …) overlap with these or were not checked, and are not read. Where
``clip_durations.tsv`` is there, recordings are compared with it.
"""

from dataclasses import replace
from pathlib import Path

from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.tables import read_table
from bench.data.corpora.folders import holds, only_folder
from bench.data.corpora.manifest import listing_of, rows_of_file, rows_of_split, tables_by_split
from bench.data.corpora.spec import CorpusConfig, CorpusSpec, Listing

_DURATIONS = "clip_durations.tsv"
_CLIP, _MILLISECONDS = "clip", "duration[ms]"


def _read(config: CorpusConfig, progress: ProgressCallback | None) -> Listing:
    path = config.required_path()
    if path.is_file():
        rows, folder = rows_of_file(path), path.parent
    else:
        files = _tables(path)
        rows = [row for split, file in files.items() for row in rows_of_split(file, split)]
        folder = next(iter(files.values())).parent
    seconds = _durations(folder / _DURATIONS)
    claimed = (replace(row, claimed_seconds=seconds.get(row.audio.name)) for row in rows)
    return listing_of(claimed if seconds else rows, path)


def _tables(path: Path) -> dict[str, Path]:
    """The table of each split in `path`, or in its only language."""
    for folder in (path, *only_folder(path)):
        if files := tables_by_split(folder, (".tsv",)):
            return files
    raise UserError(
        f"no train.tsv, dev.tsv or test.tsv of Common Voice in {path}; {holds(path)}; give the "
        "folder of one language"
    )


def _durations(file: Path) -> dict[str, float]:
    """Seconds of each clip, as Common Voice counted them; {} if it did not."""
    if not file.is_file():
        return {}
    seconds = {}
    for where, fields in read_table(file, "table of durations"):
        clip, milliseconds = (str(fields.get(key, "")) for key in (_CLIP, _MILLISECONDS))
        if not (clip and milliseconds.isdecimal()):
            raise UserError(
                f"{where}: a row has {_CLIP!r} and {_MILLISECONDS!r}, got {dict(fields)}; correct "
                "it or remove the file"
            )
        seconds[clip] = int(milliseconds) / 1000
    return seconds


COMMON_VOICE = CorpusSpec(
    name="commonvoice",
    summary="sentences read by volunteers: train.tsv, dev.tsv and test.tsv beside clips/",
    source="the folder of one language given as commonvoice:PATH; https://commonvoice.mozilla.org",
    read=_read,
)
