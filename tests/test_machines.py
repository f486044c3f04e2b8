"""Machines that are not ours: what a sweep does on each, by its exit code and the line it says.

The table, as it is found here:

    pytest -m slow -s tests/test_machines.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.data.utterance import Corpus
from tests.tones import write_table

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["--set", "model.width=16", "--set", "model.convs=[[16, 11, 3]]", "--budget", "smoke", "--workers", "1"]  # fmt: skip
ENDED = "has a test WER of|is better|Undecided"
MIB = 1 << 20


@dataclass
class Machine:
    """Where a sweep is run: everything that differs from this machine as it is."""

    folder: Path
    """The working folder."""
    corpus: str
    environment: dict[str, str | None] = field(default_factory=dict)
    """Variables to set, or to remove."""
    prefix: list[str] = field(default_factory=list)
    """What starts the command."""
    arguments: list[str] = field(default_factory=list)
    tree: Path = ROOT
    """The checkout."""

    def sweep(self) -> "subprocess.CompletedProcess[str]":
        return self.run([sys.executable, "-m", "bench.sweep", "--variant", "ds-gru", "--corpus", self.corpus, *SMALL, *self.arguments])  # fmt: skip

    def run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        changed = {"PYTHONPATH": str(self.tree), "MLFLOW_TRACKING_URI": None, **self.environment}
        kept = {k: v for k, v in os.environ.items() if k not in changed}
        environment = kept | {k: v for k, v in changed.items() if v is not None}
        return subprocess.run(
            [*self.prefix, *command], cwd=self.folder, env=environment, text=True, timeout=500,
            capture_output=True, encoding="utf-8",
        )  # fmt: skip


def as_a_stranger() -> list[str]:
    """A user without a passwd entry, who may read all and write only what is free to write; if we
    are root and may become one."""
    caps = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    prefix = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", *caps]
    try:
        subprocess.run([*prefix, sys.executable, "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs root, and setpriv with capabilities")
    return prefix


@pytest.fixture
def machine(tmp_path: Path, tone_corpus: Corpus) -> Machine:
    corpus = write_table(tone_corpus, tmp_path / "tones.jsonl")
    folder = tmp_path / "work"
    folder.mkdir()
    return Machine(folder, corpus, {"BENCH_CACHE": str(tmp_path / "cache")})


def no_compiler(machine: Machine) -> None:
    machine.environment |= {"PATH": "/nowhere", "CC": None}


def no_git(machine: Machine) -> None:
    programs = machine.folder.parent / "programs"
    programs.mkdir()
    for name in ("cc", "as", "ld"):
        if (found := shutil.which(name)) is not None:
            (programs / name).symlink_to(found)
    machine.environment["PATH"] = str(programs)


def no_locale(machine: Machine) -> None:
    machine.environment |= {"LC_ALL": "C", "LANG": None, "PYTHONUTF8": None}
    machine.arguments = ["--name", "größe-名"]


def read_only_checkout(machine: Machine) -> None:
    machine.tree = machine.folder.parent / "checkout"
    for name in ("bench", "variants", "reports", "sweeps"):
        shutil.copytree(
            ROOT / name, machine.tree / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for path in [machine.tree, *machine.tree.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    stranger(machine)


def stranger(machine: Machine) -> None:
    machine.prefix = as_a_stranger()
    machine.folder.chmod(0o777)
    machine.folder.parent.chmod(0o777)
    machine.environment |= {"HOME": "/", "USER": None, "LOGNAME": None}  # as in a container


def stranger_without_home(machine: Machine) -> None:
    stranger(machine)
    machine.environment["HOME"] = None


def stranger_without_cache(machine: Machine) -> None:
    stranger(machine)
    machine.environment |= {"BENCH_CACHE": None, "XDG_CACHE_HOME": None}


def stranger_in_a_folder_of_others(machine: Machine) -> None:
    stranger(machine)
    machine.folder.chmod(0o755)


def no_home(machine: Machine) -> None:
    machine.environment["HOME"] = None


def spaces(machine: Machine) -> None:
    machine.folder = machine.folder.parent / "my work; $(folder)"
    machine.folder.mkdir()
    manifest = Path(machine.corpus.partition(":")[2])
    moved = machine.folder / "my tones's.jsonl"
    moved.write_text(manifest.read_text())
    machine.corpus = f"manifest:{moved}"


def long_temporary_folder(machine: Machine) -> None:
    folder = machine.folder.parent / ("t" * 120)
    folder.mkdir()
    machine.environment["TMPDIR"] = str(folder)


def relative_cache(machine: Machine) -> None:
    machine.environment["BENCH_CACHE"] = "cache"


def cache_that_is_a_file(machine: Machine) -> None:
    path = machine.folder.parent / "file"
    path.touch()
    machine.environment["BENCH_CACHE"] = str(path)


def little_address_space(machine: Machine) -> None:
    machine.prefix = ["bash", "-c", 'ulimit -v 4250000; exec "$@"', "bash"]


def server_that_is_down(machine: Machine) -> None:
    machine.environment["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"


def address_without_scheme(machine: Machine) -> None:
    machine.environment["MLFLOW_TRACKING_URI"] = "localhost:5000"


Row = tuple[Callable[[Machine], None], int, str]
TABLE: list[Row] = [
    (no_compiler, 0, "there is no C compiler; install gcc"),
    (no_git, 0, ENDED),
    (no_locale, 0, "report:   'out/größe-名/report.html'"),
    (read_only_checkout, 0, ENDED),
    (stranger, 0, ENDED),
    (stranger_without_home, 2, "needs HOME, which is not set"),
    (stranger_without_cache, 2, "/.cache/.* cannot be written.*set BENCH_CACHE"),
    (
        stranger_in_a_folder_of_others,
        2,
        "out/.* cannot be written|see that this folder is writable",
    ),
    (no_home, 0, ENDED),
    (spaces, 0, ENDED),
    (long_temporary_folder, 0, ENDED),
    (relative_cache, 0, ENDED),
    (cache_that_is_a_file, 2, "cannot be written.*set BENCH_CACHE"),
    (little_address_space, 2, "memory ran out|ulimit -v allows"),
    (server_that_is_down, 0, "tracking: http://127.0.0.1:9 does not answer"),
    (address_without_scheme, 2, "write http://localhost:5000"),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0].__name__)
def test_a_sweep_ends_well_or_with_a_one_line_reason(machine: Machine, row: Row) -> None:
    change, code, said = row
    change(machine)
    ended = machine.sweep()
    lines = [*ended.stdout.splitlines(), *ended.stderr.splitlines()]
    line = next((line for line in lines if re.search(said, line)), "")
    print(f"\n{change.__name__:32} {ended.returncode:3}  {line[:200]}")
    assert ended.returncode == code, ended.stderr
    assert line, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    if code:
        assert sum(line.startswith("error: ") for line in lines) == 1, ended.stderr
    if change is little_address_space:
        machine.prefix = []
        assert states_after(machine, machine.sweep()) == {"finished"}
    if change is server_that_is_down:
        assert sum("127.0.0.1:9" in line for line in lines) <= 3, (
            "at its begin, its end, as address"
        )
    if change is spaces:
        printed_commands_run(machine, ended.stdout)


def states_after(machine: Machine, ended: "subprocess.CompletedProcess[str]") -> set[str]:
    """How the runs ended that are recorded now."""
    assert ended.returncode == 0, ended.stderr
    found = [json.loads(p.read_text()) for p in machine.folder.glob("out/*/runs/*/*/summary.json")]
    assert len(found) == 4
    return {summary["state"] for summary in found}


def printed_commands_run(machine: Machine, printed: str) -> None:
    """The report is there, what serves the runs starts, and what listens hears something."""
    named = dict(line.split(":", 1) for line in printed.splitlines() if re.match(r"\w+: ", line))
    assert machine.run(["bash", "-c", f"test -s {named['report']}"]).returncode == 0
    heard = machine.run(["bash", "-c", named["listen"]])
    assert heard.returncode == 0, heard.stderr
    helped = machine.run(["bash", "-c", f"{named['compare']} --help"])
    assert helped.returncode == 0, helped.stderr
    (study,) = machine.folder.glob("out/*/study.json")
    again = re.search(r"python -m bench\.sweep [^<\n]+", (study.parent / "report.html").read_text())
    assert again is not None


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of `size` bytes at `folder`."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("needs root, to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("room", [1, 4])
def test_a_disk_of_40_mb_that_is_full_and_has_room_again(machine: Machine, room: int) -> None:
    """Full when the first files are written, or the last."""
    with small_disk(machine.folder, 40 * MIB):
        machine.environment["BENCH_CACHE"] = str(machine.folder / "cache")
        filling = machine.folder / "filling"
        filling.write_bytes(bytes((40 - room) * MIB))
        full = machine.sweep()
        print(
            f"\n{f'disk_of_40_mb, {room} free':32} {full.returncode:3}  {full.stderr.splitlines()[-1][:200]}"
        )
        assert full.returncode == 2, full.stderr
        assert re.search("No space left on device|disk is full", full.stderr.splitlines()[-1])
        assert "Traceback" not in full.stderr
        filling.unlink()
        assert states_after(machine, machine.sweep()) == {"finished"}


def test_the_list_of_commands() -> None:
    def said(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "bench", *arguments]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return ended.returncode, ended.stdout + ended.stderr

    code, listed = said()
    assert code == 0
    files = {path.stem for path in (ROOT / "bench").glob("[!_]*.py")}
    assert set(re.findall(r"^  python -m bench\.(\w+) +\S", listed, re.M)) == files
    assert said("--help") == (0, listed)
    assert said("swep")[0] == 2
    assert "did you mean sweep" in said("swep")[1]
    assert "write python -m bench.sweep" in said("sweep")[1]
