"""The build of kernel.c, its cache, and machines without a compiler."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.core.paths import cache_root
from variants.ops import kernel, kernel_build
from variants.ops.recurrence import recur

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache for a short source that compiles fast; temporary folders are in ``tmp``."""
    monkeypatch.setattr(kernel_build, "SOURCE", tmp_path / "kernel.c")
    kernel_build.SOURCE.write_text("int anything;")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    kernel.library.cache_clear()
    yield tmp_path / "cache" / "kernel"
    kernel.library.cache_clear()
    assert not any((tmp_path / "tmp").iterdir()), "a temporary folder was left"


def built(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.so*"))


def compiler(path: Path, version: str) -> str:
    """A compiler that prints its version and records each run in ``runs``."""
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo {version}; exit; fi\n'
        f'echo run >> {path.parent}/runs\nexec cc "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def test_it_is_built_once(cache: Path) -> None:
    kernel_build.load()
    (kept,) = built(cache)
    first = kept.stat().st_mtime_ns
    kernel_build.load()
    assert [path.stat().st_mtime_ns for path in built(cache)] == [first]


def test_many_processes_build_it_once(tmp_path: Path) -> None:
    env = {
        **os.environ, "BENCH_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path),
        "CC": compiler(tmp_path / "cc", "1"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, "-c", "from variants.ops import kernel_build; kernel_build.load()"]
    processes = [subprocess.Popen(command, env=env) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert (tmp_path / "runs").read_text().split() == ["run"]


def test_another_compiler_version_or_flag_is_another_library(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1", "2"):
        monkeypatch.setenv("CC", compiler(tmp_path / "cc", version))
        kernel_build.load()
    monkeypatch.setenv("BENCH_KERNEL_FLAGS", "-DANYTHING")
    kernel_build.load()
    assert len(built(cache)) == 3
    assert kernel_build.target().endswith(" -DANYTHING")


def test_it_is_kept_below_the_cache_of_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BENCH_CACHE", "/a/b"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/d")):
        monkeypatch.setenv(name, value)
        assert kernel_build._cache_folder() == cache_root() / "kernel"
        monkeypatch.delenv(name)
        assert kernel_build._cache_folder().is_absolute()


def test_a_cache_that_cannot_be_written(cache: Path) -> None:
    cache.parent.write_text("not a folder")
    kernel_build.load()


def test_a_cache_without_locks(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "lock").mkdir()
    kernel_build.load()


def test_a_user_without_a_home(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    kernel_build.load()


def test_a_damaged_library_is_built_again(cache: Path) -> None:
    kernel_build.load()
    (kept,) = built(cache)
    kept.unlink()
    kept.write_bytes(b"torn")
    kernel_build.load()
    assert kept.stat().st_size > 4


@pytest.mark.parametrize("chosen", ["false", "/no/such/compiler", "'", "cc -no-such-flag"])
def test_a_compiler_that_fails(
    cache: Path, chosen: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", chosen)
    check_torch_computes(caplog, "kernel.c could not be built: ")


def test_no_compiler(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    check_torch_computes(caplog, "there is no C compiler; install gcc, or set CC")


def check_torch_computes(caplog: pytest.LogCaptureFixture, said: str) -> None:
    cell, x_BTC = nn.GRU(3, 4, batch_first=True), torch.randn(2, 5, 3)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(recur(cell, x_BTC), cell(x_BTC)[0])
        recur(cell, x_BTC)
    assert kernel.description() == "torch"
    (record,) = caplog.records
    assert said in record.getMessage()
    assert "\n" not in record.getMessage()


KERNEL_TESTS = [
    *(f"tests/variants/ops/test_{name}.py" for name in ("kernel", "recurrence", "convolution", "normalization", "dropout")),
    "tests/training/test_ctc.py",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "flags"),
    [
        (None, "-g -O1 -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all"),
        ("avx2", ""),
        ("default", ""),
    ],
    ids=["sanitizers", "avx2", "baseline"],
)
def test_every_test_of_the_kernel_holds_for_other_builds(
    capability: str | None, flags: str, tmp_path: Path
) -> None:
    """The tests compare with torch in double precision; a sanitizer's finding ends the process."""
    env = {**os.environ, "BENCH_TEST_CACHE": str(tmp_path), "BENCH_KERNEL_FLAGS": flags}
    if capability is not None:
        env["ATEN_CPU_CAPABILITY"] = capability
    if flags:
        found = subprocess.run(
            ["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
        )
        # Of Python and torch nothing is known: neither their leaks nor how they take a failed malloc.
        env |= {
            "LD_PRELOAD": found.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        }
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:randomly", *KERNEL_TESTS]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-5000:]
    assert len(built(tmp_path / "kernel")) == 1
