"""How kernel.c becomes a library: compiled for this CPU when first needed, in about a second, and
kept in the user's cache.

A library's file name holds a digest of all that decides what is in it (source, compiler and its
version, flags, machine), so that none is out of date and different machines may share a cache.
"""

import ctypes
import fcntl
import os
import platform
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

SOURCE = Path(__file__).with_name("kernel.c")
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC")
"""No -ffast-math: what is not finite must stay so, or nobody would see a run diverge."""
ARCHITECTURES = {"AVX512": ("-march=x86-64-v4",), "AVX2": ("-march=x86-64-v3",)}
"""By torch's name of the CPU's capability, which ATEN_CPU_CAPABILITY=avx2 or =default lowers; other
CPUs get the compiler's default. Not -march=native, whose meaning is not in the digest."""
FLAGS_VARIABLE = "BENCH_KERNEL_FLAGS"
"""More compiler flags, such as ``-fsanitize=address,undefined``. Not CFLAGS: environments set those
for everything, and speed would depend on them."""
COMPILERS = ("cc", "gcc", "clang")
BUILD_SECONDS = 120.0
POLL_SECONDS = 0.05


class BuildError(Exception):
    """kernel.c cannot be compiled or loaded here; the message says why, in one line."""


def target() -> str:
    """What is compiled for: the CPU's vector instructions, and the user's own flags."""
    return " ".join((torch.backends.cpu.get_cpu_capability(), *_extra_flags()))


def load() -> ctypes.CDLL:
    """The library: from the cache, else compiled.

    One process compiles, others wait for it. Where the cache cannot be written, each process
    compiles for itself in a temporary folder, which is gone when this returns.

    Raises:
        BuildError: there is no compiler, or it fails.
    """
    try:
        compiler = _compiler()
        flags = [*FLAGS, *_architecture(), *_extra_flags()]
        kept = _cache_folder() / f"{SOURCE.stem}-{_digest(compiler, flags)}.so"
        with suppress(OSError):
            return ctypes.CDLL(str(kept))
        with _only_builder(kept.with_name("lock")):
            with suppress(OSError):
                return ctypes.CDLL(str(kept))
            return _compile([*compiler, *flags, str(SOURCE)], kept)
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if "error" in line.lower()]
        reason = said[0] if said else f"{error.cmd[0]} ended with {error.returncode}"
        raise BuildError(f"{SOURCE.name} could not be built: {reason}") from error
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise BuildError(f"{SOURCE.name} could not be built: {error}") from error


def _digest(compiler: Sequence[str], flags: Sequence[str]) -> str:
    """Of all that decides what the compiled library holds."""
    version = subprocess.run(
        [*compiler, "--version"], capture_output=True, text=True, timeout=BUILD_SECONDS
    ).stdout
    parts = (SOURCE.read_text(encoding="utf-8"), compiler, version, flags, platform.machine())
    return sha256(repr(parts).encode()).hexdigest()[:16]


def _compile(command: Sequence[str], kept: Path) -> ctypes.CDLL:
    """The library that `command` makes, and a copy of it at `kept` if that can be written."""
    with TemporaryDirectory(prefix="deepspeech-bench-") as folder:
        made = Path(folder, kept.name)
        subprocess.run(
            [*command, "-o", str(made)],
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
        partial = kept.with_name(f"{kept.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(made, partial)
            partial.replace(kept)  # others see the whole file or none
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        # It stays in memory once its file is gone.
        return ctypes.CDLL(str(made))


@contextmanager
def _only_builder(lock: Path) -> Iterator[None]:
    """No other process is within this at once; where `lock` cannot be had, all are let in."""
    with suppress(OSError):
        lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = lock.open("w")
    except OSError:
        yield
        return
    with handle:
        deadline = time.monotonic() + BUILD_SECONDS
        while time.monotonic() < deadline:  # a holder may have been stopped (SIGSTOP)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(POLL_SECONDS)
            except OSError:  # a file system without locks
                break
        yield


def _cache_folder() -> Path:
    """Below the cache of `bench.core.paths.cache_root`, by the same rule; a user without a home
    folder gets one that cannot be written."""
    if given := os.environ.get("BENCH_CACHE"):
        return Path(given).absolute() / "kernel"
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        caches = Path(os.devnull)
    return caches.absolute() / "deepspeech-bench" / "kernel"


def _compiler() -> list[str]:
    """The user's choice, else what is on the path."""
    chosen = shlex.split(os.environ.get("CC", ""))
    found = chosen or list(filter(None, map(shutil.which, COMPILERS)))[:1]
    if not found:
        raise BuildError("there is no C compiler; install gcc, or set CC")
    return found


def _architecture() -> tuple[str, ...]:
    return ARCHITECTURES.get(torch.backends.cpu.get_cpu_capability(), ())


def _extra_flags() -> list[str]:
    return shlex.split(os.environ.get(FLAGS_VARIABLE, ""))
