"""LibriSpeech: read books, 960 hours. Panayotov et al., ICASSP 2015; https://www.openslr.org/12."""

from pathlib import Path

from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.core.paths import read_text
from bench.data.corpora.spec import CorpusConfig, CorpusSpec, Listing, Row

_FOLDER = "LibriSpeech"
_VALID, _TEST = "dev-clean", "test-clean"


def _read(config: CorpusConfig, progress: ProgressCallback | None) -> Listing:
    if config.path is None:
        raise UserError("librispeech needs the folder it lies in; write --corpus librispeech:PATH")
    given = Path(config.path)
    root = given / _FOLDER if (given / _FOLDER).is_dir() else given
    train = sorted(folder.name for folder in root.glob("train-*") if folder.is_dir())
    for found, name in (
        (train, "train-clean-100"),
        *(((root / s).is_dir(), s) for s in (_VALID, _TEST)),
    ):
        if not found:
            raise UserError(
                f"librispeech set {name} is not under {root}; download it: mkdir -p '{given}' && "
                'python -c "from torchaudio.datasets '
                f"import LIBRISPEECH; LIBRISPEECH('{given}', '{name}', download=True)\""
            )
    splits = dict.fromkeys(train, "train") | {_VALID: "valid", _TEST: "test"}
    rows = [row for name, split in splits.items() for row in _rows(root / name, split)]
    used = f"train is {' + '.join(train)}, valid is {_VALID}, test is {_TEST}"
    return Listing(rows=tuple(rows), notes=(used,))


def _rows(folder: Path, split: str) -> list[Row]:
    """The utterances of one set: SPEAKER/CHAPTER/*.trans.txt, whose lines read ``ID TEXT``."""
    rows = []
    for transcripts in sorted(folder.glob("*/*/*.trans.txt")):
        for line in read_text(transcripts, "transcripts").splitlines():
            name, _, text = line.partition(" ")
            if not name or "/" in name:
                raise UserError(
                    f"{transcripts}: a line reads `ID TEXT`, got {line[:60]!r}; correct the line"
                )
            rows.append(
                Row(
                    id=name,
                    audio=transcripts.with_name(f"{name}.flac"),
                    text=text,
                    speaker=name.partition("-")[0],
                    split=split,
                )
            )
    return rows


LIBRISPEECH = CorpusSpec(
    name="librispeech",
    summary="read English books: every train-* set found, dev-clean, test-clean",
    source="https://www.openslr.org/12 (CC BY 4.0)",
    read=_read,
)
