"""bench.transcribe --stream as its users meet it: from files and pipes, and with bad input."""

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.core import cli
from bench.data.features import CorpusStats
from bench.data.utterance import Corpus
from tests.babbler import STATS, STREAMING, saved_babbler

ROOT = Path(__file__).resolve().parents[1]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; `stdin` goes through a pipe."""
    monkeypatch.setattr(cli, "set_up_logging", lambda verbosity: None)
    handles = []

    def transcribe(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        command = importlib.import_module("bench.transcribe")
        monkeypatch.setattr(sys, "argv", ["transcribe", *arguments])
        read, write = os.pipe()
        handles.append(os.fdopen(read))
        monkeypatch.setattr(sys, "stdin", handles[-1])

        def feed() -> None:
            # A command that refuses what it reads closes the pipe early.
            with suppress(BrokenPipeError), os.fdopen(write, "wb") as handle:
                handle.write(stdin)

        feeder = threading.Thread(target=feed)
        feeder.start()
        code = 0
        try:
            cli.run(command.build_parser(), command.main)
        except SystemExit as end:
            code = int(end.code or 0)
        handles[-1].close()
        feeder.join()
        return code, *capsys.readouterr()

    return transcribe


def babbler(path: Path, stats: CorpusStats | None = STATS, **settings: object) -> str:
    return str(saved_babbler(path, stats, **(STREAMING | settings)))


@pytest.fixture
def audio(tone_corpus: Corpus) -> Path:
    return tone_corpus.split("test")[0].audio


def raw(path: Path) -> bytes:
    return soundfile.read(path, dtype="int16")[0].astype("<i2").tobytes()


def test_a_file_and_a_pipe_give_the_offline_text(run: Run, tmp_path: Path, audio: Path) -> None:
    given = ["--checkpoint", babbler(tmp_path / "best.pt")]
    _, expected, _ = run(*given, str(audio))
    assert expected.strip()
    for stream, stdin in ((str(audio), b""), ("-", raw(audio))):
        stream_given = [*given, "--stream", stream, "--endpoint", "99"]
        code, out, err = run(*stream_given, stdin=stdin)
        assert (code, out) == (0, expected)
        partials = err.splitlines()
        assert partials
        assert all(expected.startswith(partial) for partial in partials)
        assert run(*stream_given, "--quiet", "--chunk", "0.03", stdin=stdin) == (0, expected, "")
        code, out, err = run(*stream_given, "--quiet", "--json", stdin=stdin)
        row = json.loads(out)
        assert row["text"] == expected.strip()
        assert len(row["word_seconds"]) == len(row["text"].split())


def test_another_rate_is_converted(run: Run, tmp_path: Path, audio: Path) -> None:
    given = ["--checkpoint", babbler(tmp_path / "best.pt")]
    samples, rate = soundfile.read(audio, dtype="int16")
    halved = tmp_path / "halved.wav"
    soundfile.write(halved, samples[::2], rate // 2)
    _, expected, _ = run(*given, str(halved))
    options = [*given, "--endpoint", "99", "--quiet"]
    assert run(*options, "--stream", str(halved)) == (0, expected, "")
    piped = run(*options, "--stream", "-", "--rate", str(rate // 2), stdin=raw(halved))
    assert piped == (0, expected, "")


def test_an_empty_pipe_ends_cleanly(run: Run, tmp_path: Path) -> None:
    assert run("--checkpoint", babbler(tmp_path / "best.pt"), "--stream", "-") == (0, "", "")


def stereo(audio: Path, folder: Path) -> Path:
    samples, rate = soundfile.read(audio, dtype="int16")
    soundfile.write(folder / "stereo.wav", np.stack([samples, samples], axis=1), rate)
    return folder / "stereo.wav"


def test_bad_input_is_a_line_and_exit_2(run: Run, tmp_path: Path, audio: Path) -> None:
    given = ["--checkpoint", babbler(tmp_path / "best.pt"), "--quiet"]
    two = stereo(audio, tmp_path)
    folder = tmp_path / "others"
    folder.mkdir()
    two_way = babbler(folder / "two-way.pt", **{"model.directions": "sum"})
    by_utterance = babbler(folder / "utterance.pt", None, **{"features.normalize": "utterance"})
    cases: list[tuple[list[str], bytes, str]] = [
        ([*given, "--stream", "-"], raw(two), "one channel, got samples in equal pairs"),
        ([*given, "--stream", "-"], two.read_bytes(), "without a header, got WAV"),
        ([*given, "--stream", str(two)], b"", "has 2; name the one to use, as in --channel 0"),
        ([*given, "--stream", "-", "--rate", "16001"], raw(audio), "of no use at 16000"),
        ([*given, "--stream", "-", "--decoder", "beam"], raw(audio), "--stream decodes greedily"),
        ([*given, "--stream", "-", "--channel", "1"], raw(audio), "--channel is of recordings"),
        ([*given, "--study", "none", str(audio)], b"", "--checkpoint or a --study, got both"),
        ([*given, "--stream", "-", "--alpha", "2"], raw(audio), "--alpha is of the beam search"),
        ([*given, "--stream", str(audio), "--rate", "8000"], b"", "--rate must be that of"),
        ([*given, "--stream", str(tmp_path / "gone.wav")], b"", "does not exist"),
        ([*given, "--stream", "-", str(audio)], b"", "--stream takes no recordings"),
        ([*given, "--stream", "-", "--offset", "1"], b"", "--stream takes no --offset"),
        ([*given, "--stream", "-", "--endpoint", "0"], b"", "--endpoint must be above 0"),
        ([*given, "--rate", "8000", str(audio)], b"", "--rate belongs to --stream -"),
        (given, b"", "needs recordings, got none"),
        (["--checkpoint", two_way, "--stream", "-"], b"", "ds-gru cannot stream: its backward"),
        (["--checkpoint", by_utterance, "--stream", "-"], b"", "features.normalize = corpus"),
    ]
    for arguments, stdin, expected in cases:
        code, out, err = run(*arguments, stdin=stdin)
        assert (code, out) == (2, ""), arguments
        (line,) = err.splitlines()
        assert expected in line, (arguments, line)


def test_an_odd_byte_is_refused_after_the_text(run: Run, tmp_path: Path, audio: Path) -> None:
    given = ["--checkpoint", babbler(tmp_path / "best.pt"), "--quiet", "--stream", "-"]
    _, expected, _ = run(*given, stdin=raw(audio))
    assert expected.strip()
    code, out, err = run(*given, stdin=raw(audio) + b"x")
    assert (code, out) == (2, expected)
    (line,) = err.splitlines()
    assert "got an odd number of bytes" in line


@pytest.mark.slow
def test_ten_minutes_take_the_memory_of_one(tmp_path: Path, audio: Path) -> None:
    """Peak resident memory of the process: python -m pytest -m slow tests/test_stream.py."""
    checkpoint = babbler(tmp_path / "best.pt")
    code = (
        "import resource, sys; from bench.transcribe import main, build_parser; "
        "main(build_parser().parse_args(sys.argv[1:])); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    samples = np.frombuffer(raw(audio), "<i2")

    def peak_kilobytes(seconds: int) -> int:
        data = np.resize(samples, 16_000 * seconds).tobytes()
        arguments = ["--checkpoint", checkpoint, "--quiet", "--stream", "-"]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            input=data,
            capture_output=True,
            check=True,
        )
        return int(done.stderr.splitlines()[-1])

    assert peak_kilobytes(600) < peak_kilobytes(60) + 4_000
