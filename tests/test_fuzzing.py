"""Files from strangers: whatever they hold, a reader gives something valid or a UserError.

Short and the same each time in the normal suite. At length, with what was tried in a table:

    pytest -m slow -s tests/test_fuzzing.py
"""

import contextlib
import json
import os
import re
import shutil
import time
import tomllib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from bench.core.config import to_dict, updated
from bench.core.errors import UserError
from bench.core.files import write_json
from bench.data.corpora import CorpusConfig
from bench.data.corpora.an4 import AN4
from bench.data.corpora.commonvoice import COMMON_VOICE
from bench.data.corpora.kaldi import KALDI
from bench.data.corpora.librispeech import LIBRISPEECH
from bench.data.corpora.manifest import MANIFEST
from bench.data.corpora.validate import validate
from bench.data.units import LETTERS
from bench.data.utterance import SPLITS, Corpus
from bench.results.saved_comparison import read_saved_comparison, save_comparison
from bench.results.scored import aligned
from bench.results.systems import read_systems
from bench.runs import RunRecord, read_study
from bench.scoring import score
from bench.study import definition as definitions
from bench.study.question import load_study_file
from bench.study.recipe import load_recipe
from bench.study.request import command_of
from bench.study.space import SWEEPS, load_budget, load_budgets, load_space
from bench.training import checkpoint
from bench.training.config import build_model, default_run_config
from bench.training.progress import Progress, WatchTranscript
from tests.studies import record_of, study_of

LONG_EXAMPLES = int(os.environ.get("BENCH_FUZZ_EXAMPLES", "3000"))
"""Of each file, in the long run; the short one tries 40."""

NASTY = (
    "", "\0", "\\u0000", "\\ud800", "\ufeff", "\u2028", "é", '"', "'", "\\", "\n", "\r", "\t", " " * 3000,
    "(", ")", "{", "}", "[", "]", "[" * 3000, '{"a":' * 3000, "a." * 1500 + "a=1\n", "=", ",", "#",
    "null", "true", "false", "NaN", "nan", "inf", "-Infinity", "1e999", "0", "-1", "1.5", "9" * 400,
    "9" * 5000, "1979-05-27T07:32:00Z", "07:32:00", '""', "[]", "{}", '["a"]', '{"a": 1}', "[[[1]]]",
    "/", "..", "../../x", "/dev/zero", "~nobody-of-that-name", "~\\u0000", "a" * 300, "<s>", "</s>", "()",
    "params=" + "9" * 400, "train", "ds-gru", "model.width", "[fixed]\n", "[search]\n", "valid",
)  # fmt: skip
PLAIN = (
    None, True, 0, -1, 10**400, 1.5, float("nan"), float("inf"), "", "a", "é", "\0", "..", "a/../b", [], {},
    [[]], [1], ["a"], {"a": 1}, {"": {"": None}}, "9" * 400, "ds-gru", "train",
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """One kind of file: a valid one, and all that is done with it before anything is trusted."""

    name: str
    file: Path
    read: Callable[[], Any]
    check: Callable[[Any], bool]

    def crash(self, content: bytes) -> str:
        """ "" if reading `content` gives something valid or a UserError, else what came out."""
        whole = self.file.read_bytes()
        self.file.write_bytes(content)
        try:
            return "" if self.check(self.read()) else "an invalid result"
        except UserError as error:
            message = str(error)
            return "" if message.isprintable() else f"a message of several lines: {message!r}"
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {error}"
        finally:
            self.file.write_bytes(whole)


# Bytes near to those of a valid file.


def tokens_changed(draw: Callable[..., Any], text: str) -> bytes:
    """Words, spaces and signs left out, doubled, swapped or replaced."""
    tokens = re.findall(r"\w+|\s+|[^\w\s]", text)
    for _ in range(draw(st.integers(1, 4))):
        if not tokens:
            break
        at, other = (draw(st.integers(0, len(tokens) - 1)) for _ in range(2))
        match draw(st.sampled_from(("replace", "insert", "delete", "double", "swap"))):
            case "replace":
                tokens[at] = draw(st.sampled_from(NASTY))
            case "insert":
                tokens.insert(at, draw(st.sampled_from(NASTY)))
            case "delete":
                del tokens[at : at + draw(st.integers(1, 9))]
            case "double":
                tokens[at:at] = tokens[at : at + draw(st.integers(1, 30))]
            case "swap":
                tokens[at], tokens[other] = tokens[other], tokens[at]
    return "".join(tokens).encode("utf-8", "surrogatepass")


def tree_changed(draw: Callable[..., Any], value: Any) -> Any:
    """A JSON value with one place of it replaced, taken out or put in."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 3)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        at = draw(st.sampled_from(keys))
        changed = value.copy()
        match draw(st.sampled_from(("deeper",) * 4 + ("delete", "insert"))):
            case "deeper":
                changed[at] = tree_changed(draw, value[at])
            case "delete":
                del changed[at]
            case "insert" if isinstance(changed, dict):
                changed[draw(st.sampled_from(("a", "", "..", "é", "model.x")))] = value[at]
            case "insert":
                changed.append(value[at])
        return changed
    return draw(st.sampled_from(PLAIN))


@st.composite
def near(draw: Callable[..., Any], whole: bytes) -> bytes:
    """Something like the valid file `whole`, or nothing like it."""
    kind = draw(st.sampled_from(("tokens", "tokens", "trees", "trees", "bits", "torn", "random")))
    try:
        text = whole.decode()
        lines = [json.loads(line) for line in text.splitlines()] if kind == "trees" else []
    except ValueError:
        try:
            lines = [json.loads(whole)]
        except ValueError:
            lines = []
    if kind == "trees" and not lines:
        with contextlib.suppress(ValueError):
            tables = tree_changed(draw, tomllib.loads(whole.decode()))
            if isinstance(tables, dict):
                return "".join(
                    f"{json.dumps(k)} = {inline(v)}\n" for k, v in tables.items()
                ).encode()
    if kind == "trees" and lines:
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = tree_changed(draw, lines[at])
        return "".join(json.dumps(line) + "\n" for line in lines).encode()
    if kind in ("tokens", "trees"):
        try:
            return tokens_changed(draw, whole.decode())
        except UnicodeDecodeError:
            kind = "bits"
    if kind == "bits":
        content = bytearray(whole)
        for _ in range(draw(st.integers(1, 3))):
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        return bytes(content)
    return whole[: draw(st.integers(0, len(whole)))] if kind == "torn" else draw(st.binary())


def inline(value: Any) -> str:
    """A value as TOML writes it on one line; it has no null, but dates."""
    if value is None:
        return "1979-05-27"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return str(value) if isinstance(value, float) else json.dumps(value)


# The readers.


def recording(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(path.name.encode())).uniform(-0.3, 0.3, 1600)
    soundfile.write(path, noise, 16_000)
    return path


def sound(corpus: Corpus) -> bool:
    """As the rest of the program takes it: names that files can hold, known splits."""
    named = [(u.id, u.speaker, u.text, u.split) for u in corpus.utterances]
    json.dumps(named, ensure_ascii=False).encode()
    return all(id and speaker and text and split in SPLITS for id, speaker, text, split in named)


def manifests(folder: Path) -> list[Reader]:
    rows = [
        {"audio_filepath": f"{split}.wav", "text": f"a {split}", "speaker": split, "split": split,
         "duration": 0.1, "id": f"id-{split}"}
        for split in ("train", "valid", "test")
    ]  # fmt: skip
    for row in rows:
        recording(folder / str(row["audio_filepath"]))
    written = {
        "m.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "m.json": json.dumps(rows),
    }
    for name, comma in (("m.csv", ","), ("m.tsv", "\t")):
        table = [list(rows[0]), *(list(map(str, row.values())) for row in rows)]
        written[name] = "".join(comma.join(line) + "\n" for line in table)
    readers = []
    for name, text in written.items():
        (folder / name).write_text(text)
        config = CorpusConfig(name="manifest", path=str(folder / name), text="drop")
        readers.append(corpus_reader(name, folder / name, MANIFEST.read, config))
    return readers


def corpus_reader(name: str, file: Path, read: Callable[..., Any], config: CorpusConfig) -> Reader:
    return Reader(name, file, lambda: validate(read(config, None), config), sound)


def an4(folder: Path) -> list[Reader]:
    speakers = [f"s{number:02}" for number in range(12)]
    names = [f"{speaker}-u" for speaker in speakers]
    for speaker, name in zip(speakers, names, strict=True):
        recording(folder / "wav" / speaker / f"{name}.wav")
    etc = folder / "etc"
    etc.mkdir()
    (etc / "an4_train.fileids").write_text("".join(f"an4/{n[:3]}/{n}\n" for n in names))
    (etc / "an4_train.transcription").write_text("".join(f"<s> A B </s> ({n})\n" for n in names))
    (folder / "dev_speakers.txt").write_text("s00\ns01\n")
    config = CorpusConfig(name="an4", path=str(folder), text="drop")
    files = [
        etc / "an4_train.fileids",
        etc / "an4_train.transcription",
        folder / "dev_speakers.txt",
    ]
    return [corpus_reader(file.name, file, AN4.read, config) for file in files]


def librispeech(folder: Path) -> list[Reader]:
    for part in ("train-clean-100", "dev-clean", "test-clean"):
        chapter = folder / part / "1" / "2"
        recording(chapter / f"{part}.flac")
        (chapter / "1-2.trans.txt").write_text(f"{part} A TEXT\n")
    config = CorpusConfig(name="librispeech", path=str(folder), text="drop")
    file = folder / "train-clean-100" / "1" / "2" / "1-2.trans.txt"
    return [corpus_reader(file.name, file, LIBRISPEECH.read, config)]


def commonvoice(folder: Path) -> list[Reader]:
    for split in ("train", "dev", "test"):
        recording(folder / "clips" / f"{split}.wav")
        row = f"ann\t{split}.wav\tA {split}.\t2\tfemale\n"
        (folder / f"{split}.tsv").write_text("client_id\tpath\tsentence\tup_votes\tgender\n" + row)
    (folder / "clip_durations.tsv").write_text("clip\tduration[ms]\ntrain.wav\t100\n")
    config = CorpusConfig(name="commonvoice", path=str(folder), text="drop")
    files = [folder / "train.tsv", folder / "clip_durations.tsv"]
    return [corpus_reader(file.name, file, COMMON_VOICE.read, config) for file in files]


def kaldi(folder: Path) -> list[Reader]:
    recording(folder / "wav" / "call.wav")
    data = folder / "data" / "train"
    data.mkdir(parents=True)
    written = {
        "wav.scp": "call wav/call.wav\n",
        "segments": "ann-1 call 0.0 0.04\nann-2 call 0.05 0.1\n",
        "text": "ann-1 GO HOME\nann-2 COME\n",
        "utt2spk": "ann-1 ann\nann-2 ann\n",
        "spk2utt": "ann ann-1 ann-2\n",
        "spk2gender": "ann f\n",
        "utt2dur": "ann-1 0.04\nann-2 0.05\n",
    }
    for name, text in written.items():
        (data / name).write_text(text)
    config = CorpusConfig(name="kaldi", path=str(folder), text="drop")
    return [corpus_reader(name, data / name, KALDI.read, config) for name in written]


def sweeps(folder: Path) -> list[Reader]:
    shutil.copytree(SWEEPS, folder, dirs_exist_ok=True)
    base = default_run_config("ds-gru", CorpusConfig())

    def study() -> Any:
        file = load_study_file("cells", folder)
        budget = load_budget(file.budget)
        corpus = CorpusConfig.parse(file.corpus)
        return study_of(file.systems, budget, corpus=corpus, question=file.question, sweeps=folder)

    def recipe() -> Any:
        found = load_recipe("an4", folder / "recipes")
        CorpusConfig.parse(found.corpus)
        return updated(default_run_config(found.variant, CorpusConfig()), found.set)

    def space() -> Any:
        return load_space("ds-gru", base, folder)

    return [
        Reader(
            "budgets.toml", folder / "budgets.toml", lambda: load_budgets(folder), survives_json
        ),
        Reader("base.toml", folder / "base.toml", space, survives_json),
        Reader("studies/*.toml", folder / "studies" / "cells.toml", study, survives_json),
        Reader("recipes/*.toml", folder / "recipes" / "an4.toml", recipe, survives_json),
    ]


def survives_json(value: Any) -> bool:
    json.dumps(value, default=to_dict, ensure_ascii=False).encode()
    return True


def study_file(folder: Path) -> list[Reader]:
    variants = ["ds-gru", "ds-lstm"]
    budget = load_budget("smoke")
    study = study_of(variants, budget)
    write_json(folder / definitions.FILE, to_dict(study))

    def read() -> Any:
        found = definitions.load(folder)
        return found, command_of(found), [found.searched(label) for label in found.systems]

    file = folder / definitions.FILE
    return [Reader("study.json", file, read, lambda found: survives_json(found[0]))]


def records(folder: Path) -> list[Reader]:
    run = folder / "runs" / "ds-gru" / "confirm-0"
    record = record_of(run, kind="confirm", params={"a": 1})
    for step in (1, 2):
        heard = (WatchTranscript(id="w", ref="a b", hyp="a"),)
        record.append(
            Progress(step=step, epoch=step, num_epochs=2, seconds=1.0, watch=heard, evaluated=True,
                     metrics={"valid/wer": 0.5})
        )  # fmt: skip
    record.write_scores("test", score(["u", "v"], ["a b", "c"], ["a", "c"], ["s", "s"], [1.0, 2.0]))
    record.close("finished", {"best/valid/wer": 0.5, "test/wer": 0.5})

    def read() -> Any:
        tables = read_study(folder)
        RunRecord(run)
        return tables, read_systems([str(run)])

    names = ("run.json", "metrics.jsonl", "watch.jsonl", "utterances-test.jsonl", "summary.json")
    return [Reader(name, run / name, read, lambda found: len(found[0].runs) == 1) for name in names]


def transcripts(folder: Path) -> list[Reader]:
    ids = ["ann-1", "ann-2", "bob_1"]
    rows = [
        {"id": id, "text": f"a {id}", "pred_text": "a", "duration": 1.5, "speaker": "s"}
        for id in ids
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("a.trn", "ref.trn"):
        (folder / name).write_text("".join(f"a b c ({id})\n" for id in ids))
    lines = folder / "a.jsonl"

    def counted(systems: list[Any]) -> bool:
        runs = [run for system in systems for run in system.scored.runs]
        return all((run["num_ref_words"] > 0).all() and run["id"].is_unique for run in runs)

    kept = folder / "kept.jsonl"
    save_comparison(
        read_systems([str(lines)]), kept, leakage=["train/test same text"], common=False
    )

    def read_comparison() -> Any:
        systems = read_saved_comparison(kept)
        aligned(systems, common=True)
        return systems

    def trn(name: str) -> Reader:
        ref = folder / "ref.trn"
        return Reader(
            name, folder / name, lambda: read_systems([str(folder / "a.trn")], ref), counted
        )

    return [
        Reader("*.jsonl of others", lines, lambda: read_systems([str(lines)]), counted),
        trn("a.trn"),
        trn("ref.trn"),
        Reader("a saved comparison", kept, read_comparison, counted),
    ]


SMALL = {
    "features.num_bins": 8,
    "model.convs": [[8, 3, 2]],
    "model.num_layers": 1,
    "model.width": 8,
}


def checkpoints(folder: Path) -> list[Reader]:
    config = updated(default_run_config("ds-gru", CorpusConfig()), SMALL)
    path = folder / "best.pt"
    checkpoint.save(path, config, build_model(config), None, LETTERS)

    def read() -> Any:
        return checkpoint.load_model(path, torch.device("cpu")).network

    return [Reader("a checkpoint", path, read, lambda model: not model.training)]


MAKERS = {
    make.__name__: make
    for make in (
        manifests, an4, librispeech, commonvoice, kaldi, sweeps, study_file, records, transcripts, checkpoints
    )
}  # fmt: skip


def tried(reader: Reader, num_examples: int, number: int = 0) -> tuple[int, dict[str, bytes]]:
    """How many inputs were read, and those that crashed the reader by what came out."""
    count, crashes = 0, {}
    assert reader.crash(reader.file.read_bytes()) == "", "the valid file is no valid file"

    @seed(number)
    @settings(
        max_examples=num_examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(near(reader.file.read_bytes()))
    def attempt(content: bytes) -> None:
        nonlocal count
        count += 1
        if found := reader.crash(content):
            crashes.setdefault(found, content)

    attempt()
    return count, crashes


@pytest.mark.parametrize("maker", MAKERS)
def test_external_files_give_valid_data_or_a_user_error(maker: str, tmp_path: Path) -> None:
    for reader in MAKERS[maker](tmp_path):
        _, crashes = tried(reader, 40)
        assert not crashes, reader.name


@pytest.mark.slow
def test_at_length(tmp_path: Path) -> None:
    print(f"\n{'file':24} {'inputs':>8} {'seconds':>8} {'crashes':>8}")
    all_crashes = {}
    for name, make in MAKERS.items():
        (tmp_path / name).mkdir()
        for reader in make(tmp_path / name):
            begun = time.perf_counter()
            count, crashes = tried(reader, LONG_EXAMPLES, number=1)
            seconds = time.perf_counter() - begun
            print(f"{reader.name:24} {count:8} {seconds:8.1f} {len(crashes):8}")
            for what, content in crashes.items():
                print(f"    {what[:150]!r} from {content[:150]!r}")
            all_crashes |= {f"{reader.name}: {what}": content for what, content in crashes.items()}
    assert not all_crashes


@settings(max_examples=40, derandomize=True, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_a_checkpoint_of_other_values_is_refused_or_loaded(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Whole files, whose checksums are right, that hold something else than ours do."""
    (reader,) = checkpoints(tmp_path)
    content = torch.load(reader.file, weights_only=True)
    key = data.draw(st.sampled_from(sorted(content)))
    torch.save({**content, key: tree_changed(data.draw, content[key])}, reader.file)
    assert reader.crash(reader.file.read_bytes()) == ""
