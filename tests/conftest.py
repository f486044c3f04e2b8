"""Fixtures for every test: one thread, a cache of its own, and a corpus of tones that needs no synthesiser."""

import hashlib
import importlib
import multiprocessing
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import settings

from bench.core import cli
from bench.data.utterance import Corpus, Utterance
from bench.results.pairs import SystemRuns
from bench.runs import set_mlflow_defaults
from bench.runs.layout import SCHEMA_VERSION
from bench.scoring import score

torch.set_num_threads(1)
settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")
set_mlflow_defaults()  # as commands do, before any test imports mlflow
# Else a run that takes ten seconds would log more than one that is faster.
os.environ["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] = "false"
RATE = 16_000
ANOTHER_USER = 54_321
RUN_JSON = {
    "schema_version": SCHEMA_VERSION, "num_ranks": 1, "name": "n", "study": "s", "system": "v", "kind": "confirm", "slot": 0,
    "attempt": 1, "seed": 0, "params": {}, "round": 0, "uid": "u", "started_at": "t", "opened_at": "t",
    "host": "h",
}  # fmt: skip


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked cuda is skipped where torch sees no CUDA device; else Triton's kernels are in
    use."""
    if item.get_closest_marker("cuda"):
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        os.environ["BENCH_TRITON"] = "1"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache, nor the tracking server of the environment."""
    cache = os.environ.get("BENCH_TEST_CACHE") or str(tmp_path_factory.getbasetemp() / "cache")
    monkeypatch.setenv("BENCH_CACHE", cache)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def speak_in_tones(text: str, seed: int) -> np.ndarray:
    """Audio [N] in which each letter is 80 ms of its own frequency: as easy as speech can be."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(0.08 * RATE)) / RATE
    window = np.hanning(len(time))
    pieces = [
        np.zeros(len(time))
        if letter == " "
        else np.sin(2 * np.pi * (200 + 130 * (ord(letter) - 96)) * time)
        for letter in text
    ]
    audio = np.concatenate([0.4 * window * piece for piece in pieces])
    return (audio + 0.001 * rng.standard_normal(len(audio))).astype(np.float32)


SENTENCES = {
    "train": ["a cab", "bad cab", "a bad bed", "dab a bee", "cab bed", "bee bad", "add a cab", "bead", "dad", "a dead bee"],
    "valid": ["bad dad", "a bed", "cab a bee", "dead cab"],
    "test": ["dad a cab", "bee bed", "a bad cab", "add a bee"],
    "watch": ["a bad dad"],
}  # fmt: skip


@pytest.fixture(scope="session")
def tone_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """19 utterances of 0.2 to 0.9 s in tones; splits share no speaker, sentence or audio."""
    folder = tmp_path_factory.mktemp("tones")
    utterances = []
    for split, sentences in SENTENCES.items():
        for index, text in enumerate(sentences):
            path = folder / f"{split}-{index}.wav"
            audio = speak_in_tones(text, seed=len(utterances))
            soundfile.write(path, audio, RATE)
            utterances.append(
                Utterance(
                    id=path.stem,
                    audio=Path(path),
                    sample_rate_hz=RATE,
                    channel=None,
                    text=text,
                    speaker=f"{split}-speaker-{index % 2}",
                    split=split,
                    seconds=len(audio) / RATE,
                    audio_digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
                )
            )
    return Corpus(name="tones", utterances=tuple(utterances), digest="tones-1")


@pytest.fixture(scope="session")
def run_json() -> dict[str, object]:
    """What run.json holds, but for the ids of MLflow and of the data."""
    return RUN_JSON


@pytest.fixture(scope="session")
def little_room() -> Callable[[int], AbstractContextManager[None]]:
    """``with little_room(num_bytes):`` no file grows beyond that: the kernel takes what fits of a
    write and then refuses, as it does when a disk is full."""

    @contextmanager
    def limit(num_bytes: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


def _become_and_call(function: Callable[..., Any], args: tuple[Any, ...], said: Connection) -> None:
    os.setgroups([])
    os.setgid(ANOTHER_USER)
    os.setuid(ANOTHER_USER)
    os.umask(0o022)
    try:
        said.send(function(*args))
    except Exception as error:
        said.send(f"{type(error).__name__}: {error}")


@pytest.fixture
def as_another_user(tmp_path: Path) -> Callable[..., Any]:
    """Calls a function in a process of another user; returns what it returns, or the error in words."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o055)

    def call(function: Callable[..., Any], *args: Any) -> Any:
        context = multiprocessing.get_context("fork")  # this interpreter may be closed to others
        here, there = context.Pipe()
        process = context.Process(target=_become_and_call, args=(function, args, there))
        process.start()
        there.close()
        said = here.recv()
        process.join()
        return said

    return call


GOLDEN = Path(__file__).resolve().parent / "golden"
"""The made-up systems a, b and c, whose statistics are known from other tools."""


def read_trn(name: str) -> dict[str, str]:
    rows = (GOLDEN / f"{name}.trn").read_text().splitlines()
    found = [re.fullmatch(r"(.*)\((.*)\)", row) for row in rows]
    return {m[2]: m[1].strip() for m in found if m}


@pytest.fixture(scope="session")
def golden() -> list[SystemRuns]:
    refs = read_trn("ref")
    speakers = [id.split("-")[0] for id in refs]
    outcomes = []
    for name in ("a", "b", "c"):
        hyps = read_trn(name)
        rows = score(refs, refs.values(), [hyps[id] for id in refs], speakers, [1.0] * len(refs))
        outcomes.append(SystemRuns(name=name, runs=(pd.DataFrame(rows),)))
    return outcomes


@pytest.fixture(scope="session")
def sclite() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Words per utterance and, of each system, error slots from sclite's own alignments."""
    rows = [
        line.split()
        for line in (GOLDEN / "sclite.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    words = np.array([len(row[1].replace("I", "")) for row in rows])
    slots = {}
    for column, name in enumerate("abc", 1):
        slots[name] = np.concatenate([slots_of(row[column]) for row in rows])
    return words, slots


def slots_of(marks: str) -> np.ndarray:
    """Error slots (bench.stats.mapsswe) of an utterance such as "CCSDIC"."""
    slots = [0]
    for mark in marks:
        if mark == "I":
            slots[-1] += 1
        else:
            slots += [int(mark != "C"), 0]
    return np.array(slots)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; returns exit code, stdout and stderr."""
    # Log lines of one command must not reach the next test's captured streams.
    monkeypatch.setattr(cli, "set_up_logging", lambda verbosity: None)

    def run_verb(verb: str, *arguments: str) -> tuple[int, str, str]:
        command = importlib.import_module(f"bench.{verb}")
        monkeypatch.setattr(sys, "argv", [verb, *arguments])
        code = 0
        try:
            cli.run(command.build_parser(), command.main)
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run_verb
