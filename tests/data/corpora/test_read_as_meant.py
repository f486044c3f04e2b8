"""Manifests as people write them: each is read as it was meant, or refused, never changed unsaid.

Hypothesis draws what was meant (rows), how it is written (columns, quoting, encodings, gzip, JSON
arrays, byte order marks, line ends, names of splits and files) and perhaps one accident. Nothing
here is shared with the readers, so the test knows what they should find. More of it:

    BENCH_FUZZ_EXAMPLES=5000 pytest -m slow -s tests/data/corpora/test_read_as_meant.py
"""

import csv
import gzip
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, Phase, event, given, seed, settings
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.data.corpora import CORPORA, CorpusConfig, load_corpus
from bench.data.corpora.spec import Row
from bench.data.text import normalize
from bench.data.utterance import Corpus

LONG_EXAMPLES = int(os.environ.get("BENCH_FUZZ_EXAMPLES", "3000"))

RATES_HZ = {"a.wav": 16_000, "wav/b.c.wav": 8_000, "wav/ü x.WAV": 16_000, "d.flac": 44_100,
            "e,f.ogg": 16_000, "no suffix": 16_000}  # fmt: skip
SECONDS = 1.5
ODD = ("stereo.wav", "empty.wav", "header.wav", "text.wav", "missing.wav", "folder.wav")
TEXTS = (
    "hello there", "Hello, there.", '"Red," we said.', 'say "hi"', "“hi” she said", "it's late",
    "goin' home; now", "a\tb", "a\nb", "a\u2028b", "café", "don’t", "\u200bhello", "#1 | a", "N/A", "", "'a'",
    "{a}", "[b]", " padded ", "null", "é", "x" * 50, "a,b,c", "ends with quote\"", "\ufeffmark",
)  # fmt: skip
SPEAKERS = (
    "ann",
    "Ann",
    "007",
    "7",
    "ann lee",
    "lee, ann",
    'ann "al" lee',
    "søren",
    "-",
    " ann ",
    "",
)
ATTRIBUTES = {
    "age": ("9", "twenties", ""),
    "gender": ("f", "m"),
    "accent": ("Wales, UK", "Scottish", ""),
    "notes": ("a;b", "x|y", "10%"),
}
SPLIT_NAMES = {
    "train": ("train", "Train", "training"),
    "valid": ("valid", "dev", "validation", "val", "DEV", "eval"),
    "test": ("test", "TEST", "testing", "eval"),
}
ACCIDENTS = (
    "cell left out", "cell too many", "quote opened", "quote closed early", "not quoted", "Windows path",
    "folder", "key twice", "cut", "header again", "other delimiter", "offset that is none", "odd audio",
)  # fmt: skip


@dataclass(frozen=True)
class Meant:
    """One utterance as its owner means it."""

    audio: str
    text: str
    speaker: str
    split: str
    name: str
    """Of the split, as written."""
    offset: float | None
    duration: float | None
    attributes: Mapping[str, str]

    def key(self, folder: Path) -> tuple[object, ...]:
        snippet = None if self.offset is None else (self.offset, self.duration)
        kept = {k: v for k, v in self.attributes.items() if v}
        return (
            os.path.normpath(folder / self.audio), normalize(self.text), self.speaker.strip() or None,
            self.split, snippet, self.duration, tuple(sorted(kept.items())),
        )  # fmt: skip

    def cells(self, *, with_split: bool, with_offset: bool) -> dict[str, Any]:
        cells: dict[str, Any] = {"audio_filepath": self.audio, "text": self.text,
                                 "speaker": self.speaker}  # fmt: skip
        cells |= {"split": self.name} if with_split else {}
        cells |= {"offset": self.offset} if with_offset else {}
        return cells | {"duration": self.duration} | dict(self.attributes)


def key_of(row: Row) -> tuple[object, ...]:
    """What `Meant.key` gives, of what was read."""
    snippet = None if row.snippet is None else (row.snippet.start_seconds, row.snippet.seconds)
    speaker = None if row.speaker == f"unknown-{row.id}" else row.speaker
    return (
        os.path.normpath(row.audio), normalize(row.text), speaker, row.split, snippet,
        row.claimed_seconds, tuple(sorted(row.attributes.items())),
    )  # fmt: skip


@dataclass(frozen=True)
class Written:
    """What was meant, and the files that say it."""

    meant: list[Meant]
    files: dict[str, bytes]
    alone: bool
    """One file with a column of splits, not a folder."""
    must_be_read: bool
    """Nothing is amiss, so to refuse it would be wrong."""
    story: str = field(compare=False, default="")


@dataclass(frozen=True)
class Style:
    """How a table is written."""

    suffix: str
    encoding: str
    end: str
    packed: bool
    naive: bool
    """Cells are joined, not quoted: right for TSV, an accident waiting to happen in CSV."""
    index: bool
    """With a first column as pandas writes it."""
    array: bool
    blank_lines: bool
    header_blank: bool
    indent: int | None


@st.composite
def styles(draw: Callable[..., Any]) -> Style:
    suffix = draw(st.sampled_from((".jsonl", ".json", ".csv", ".tsv", ".CSV", ".ndjson")))
    array = suffix == ".json" and draw(st.booleans())
    return Style(
        suffix=suffix,
        encoding=draw(st.sampled_from(("utf-8",) * 6 + ("utf-8-sig",) * 2 + (
            "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"))),
        end=draw(st.sampled_from(("\n", "\n", "\r\n", "\r"))),
        packed=draw(st.integers(0, 3)) == 0,
        naive=suffix == ".tsv" and draw(st.integers(0, 3)) > 0,
        index=suffix.lower() in (".csv", ".tsv") and draw(st.integers(0, 4)) == 0,
        array=array,
        blank_lines=draw(st.integers(0, 4)) == 0,
        header_blank=draw(st.integers(0, 4)) == 0,
        indent=draw(st.sampled_from((None, 2))) if array else None,
    )  # fmt: skip


@st.composite
def utterances(draw: Callable[..., Any]) -> list[Meant]:
    names = {split: draw(st.sampled_from(known)) for split, known in SPLIT_NAMES.items()}
    columns = draw(st.lists(st.sampled_from(sorted(ATTRIBUTES)), unique=True))
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        split = draw(st.sampled_from(("train", "train", "valid", "test")))
        offset = draw(st.sampled_from((None, None, 0.0, 0.25, 0.7)))
        duration = draw(st.sampled_from((None, SECONDS) if offset is None else (None, 0.5, 0.75)))
        rows.append(
            Meant(
                audio=draw(st.sampled_from(sorted(RATES_HZ))),
                text=draw(st.sampled_from(TEXTS)),
                speaker=draw(st.sampled_from(SPEAKERS)),
                split=split,
                name=names[split],
                offset=offset,
                duration=duration,
                attributes={name: draw(st.sampled_from(ATTRIBUTES[name])) for name in columns},
            )
        )
    return rows


def meaning_is_clear(meant: list[Meant]) -> bool:
    """No ``eval`` that may be either, and no recording or snippet that is listed twice."""
    splits = {row.split for row in meant}
    names = {row.name for row in meant}
    if "eval" in names and not (len({"valid", "test"} & splits) == 2 and len(names) == len(splits)):
        return False
    return max(Counter((row.audio, row.offset) for row in meant).values()) == 1


def lines_of(rows: list[dict[str, Any]], style: Style, accident: str, at: int) -> list[str]:
    """The lines of a table of `rows`, with an accident in row `at`."""
    columns = list(rows[0])
    if style.suffix not in (".csv", ".CSV", ".tsv"):
        lines = [json.dumps(row, ensure_ascii=at % 2 == 0) for row in rows]
        if accident == "key twice":
            lines[at] = lines[at][:-1] + ', "text": "another"}'
        if style.array:
            whole = [json.loads(line) for line in lines]
            if accident != "key twice":
                return json.dumps(whole, indent=style.indent, ensure_ascii=False).split("\n")
            return ["[" + ", ".join(lines) + "]"]
        return lines
    delimiter = "\t" if style.suffix == ".tsv" else ","
    if accident == "other delimiter":
        delimiter = ";"
    heads = [" " * (style.header_blank and i > 0) + name for i, name in enumerate(columns)]
    table = [heads, *(["" if v is None else str(v) for v in row.values()] for row in rows)]
    if style.index:
        table = [["" if i == 0 else str(i - 1), *cells] for i, cells in enumerate(table)]
    if accident == "cell left out":
        del table[1 + at][at % len(table[0])]
    if accident == "cell too many":
        table[1 + at].insert(1 + at % len(table[0]), "more")
    naive = style.naive or accident in ("not quoted", "quote opened", "quote closed early")
    text_at = table[0].index(next(h for h in table[0] if h.strip() == "text"))
    if accident == "quote opened":
        table[1 + at][text_at] = '"' + table[1 + at][text_at]
    if accident == "quote closed early":
        first, blank, rest = table[1 + at][text_at].partition(" ")
        table[1 + at][text_at] = f'"{first}"{blank}{rest}'
    if accident == "header again":
        table.insert(1 + at, table[0])
    if naive:
        return [delimiter.join(cells) for cells in table]
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, lineterminator="\x1f").writerows(table)
    return written.getvalue().split("\x1f")[:-1]


def encoded(lines: list[str], style: Style, cut: bool) -> bytes:
    if style.blank_lines:
        lines = [lines[0], "", *lines[1:], ""]
    text = style.end.join(lines) + style.end
    try:
        data = text.encode(style.encoding)
    except UnicodeEncodeError:
        data = text.encode()
    data = gzip.compress(data, mtime=0) if style.packed else data
    return data[: -len(data) // 3] if cut else data


@st.composite
def manifests(draw: Callable[..., Any]) -> Written:
    meant = draw(utterances())
    style = draw(styles())
    alone = draw(st.booleans())
    accident = draw(st.sampled_from((*[""] * len(ACCIDENTS), *ACCIDENTS)))
    is_table = style.suffix.lower() in (".csv", ".tsv")
    if accident == "key twice" and is_table:
        accident = ""
    if accident == "cut" and not (style.packed or style.array):
        # The end of a line may be missing unseen, where lines are all that a file is made of.
        accident = ""
    if not is_table and accident in (
        "cell left out", "cell too many", "quote opened", "quote closed early", "not quoted",
        "header again", "other delimiter",
    ):  # fmt: skip
        accident = ""
    if accident == "odd audio":
        meant[0] = replace(meant[0], audio=draw(st.sampled_from(ODD)))
    with_offset = any(row.offset is not None for row in meant) or draw(st.booleans())
    order = draw(st.permutations(list(meant[0].cells(with_split=alone, with_offset=with_offset))))
    files: dict[str, bytes] = {}
    groups = {"all": meant} if alone else {}
    if not alone:
        pattern = draw(st.sampled_from(("{}", "{}_manifest", "manifest-{}")))
        for row in meant:
            groups.setdefault(pattern.format(row.name), []).append(row)
    for name, members in groups.items():
        rows = []
        at = draw(st.integers(0, len(members) - 1))
        for number, member in enumerate(members):
            cells = member.cells(with_split=alone, with_offset=with_offset)
            row = {column: cells[column] for column in order}
            if number == at and accident == "Windows path":
                row["audio_filepath"] = "C:\\data\\a.wav" if at else "wav\\b.c.wav"
            if number == at and accident == "folder":
                row["audio_filepath"] = "folder.wav"
            if number == at and accident == "offset that is none":
                row["offset"] = "1.5 s"
            rows.append(row)
        lines = lines_of(rows, style, accident, at)
        packed = ".gz" if style.packed else ""
        files[name + style.suffix + packed] = encoded(lines, style, accident == "cut")
    risky = any(
        c in str(v)
        for row in meant
        for k, v in (*row.attributes.items(), ("text", row.text), ("speaker", row.speaker))
        for c in "\n\t\"\u2028\ufeff"
    )  # fmt: skip
    plain = style.encoding in ("utf-8", "utf-8-sig")
    read = not accident and not risky and plain and meaning_is_clear(meant)
    return Written(meant, files, alone, read, f"{accident or 'no accident'} in {style}")


def record(path: Path, rate_hz: int, seconds: float = SECONDS, num_channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.name.encode()))
    # Smoothed noise: neighbouring samples are alike, as in speech.
    noise = rng.uniform(-0.3, 0.3, (round(seconds * rate_hz) + 8, num_channels)).cumsum(0)
    noise = noise - noise.mean(0)
    noise = 0.5 * noise[8:] / np.abs(noise).max()
    form = {".flac": "FLAC", ".ogg": "OGG"}.get(path.suffix.lower(), "WAV")
    soundfile.write(path, noise, rate_hz, format=form)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manifests")
    for name, rate_hz in RATES_HZ.items():
        record(folder / name, rate_hz)
    record(folder / "stereo.wav", 16_000, num_channels=2)
    (folder / "empty.wav").touch()
    (folder / "header.wav").write_bytes((folder / "a.wav").read_bytes()[:44])
    (folder / "text.wav").write_text("no audio")
    (folder / "folder.wav").mkdir()
    return folder


def check(written: Written, folder: Path) -> bool:
    """True if `written` was read, as meant; False if it was refused."""
    for name, content in written.files.items():
        (folder / name).write_bytes(content)
    path = folder / next(iter(written.files)) if written.alone else folder
    config = CorpusConfig(name="manifest", path=str(path), text="drop")
    refused = None
    try:
        rows = CORPORA["manifest"].listing(config).rows
        corpus = load_corpus(config)
    except UserError as error:
        refused = error
    for name in written.files:
        (folder / name).unlink()
    if refused:
        assert not written.must_be_read, refused
        assert str(refused).isprintable()
        return False
    assert Counter(map(key_of, rows)) == Counter(row.key(folder) for row in written.meant)
    check_corpus(corpus, rows)
    return True


def check_corpus(corpus: Corpus, rows: Sequence[Row]) -> None:
    """Each row is used, for as long as it was meant, or left out with a reason."""
    used = {u.id: u for u in corpus.utterances}
    assert len(used) + len(corpus.left_out) == len(rows)
    for row in rows:
        if utterance := used.get(row.id):
            assert row.audio.name not in ODD
            cut = row.snippet
            meant_seconds = SECONDS if cut is None else cut.seconds or SECONDS - cut.start_seconds
            assert utterance.seconds == pytest.approx(meant_seconds, abs=0.01)
            said = {"snr": utterance.attributes.get("snr")} | dict(row.attributes)
            assert (utterance.snippet, {**utterance.attributes}) == (
                cut, {name: value for name, value in said.items() if value is not None}
            )  # fmt: skip


def tried(folder: Path, num_examples: int, number: int) -> Counter[tuple[str, bool]]:
    """How often a manifest with each accident was read, and refused."""
    counts: Counter[tuple[str, bool]] = Counter()

    @seed(number)
    @settings(max_examples=num_examples, deadline=None, database=None,
              phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(manifests())
    def attempt(written: Written) -> None:
        event(written.story)
        counts[written.story.partition(" in ")[0], check(written, folder)] += 1

    attempt()
    return counts


def test_manifests_are_read_as_meant_or_refused(folder: Path) -> None:
    counts = tried(folder, 200, number=0)
    num_read = sum(count for (_, read), count in counts.items() if read)
    assert num_read >= 40
    assert counts.total() - num_read >= 40


@pytest.mark.slow
def test_at_length(folder: Path) -> None:
    counts = tried(folder, LONG_EXAMPLES, number=1)
    for accident in ("no accident", *ACCIDENTS):
        print(f"{accident:20} read {counts[accident, True]:5} refused {counts[accident, False]:5}")
