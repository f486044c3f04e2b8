"""The build of kernel.c: compiled for this CPU at first use, in about a second, and cached.

A library's file name contains a digest of everything that determines its code (source, compiler and
version, flags, machine). So a cached library is never out of date, and machines can share a cache.
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
"""Without -ffast-math, which assumes finite numbers: a diverging run must be detected."""
ARCHITECTURES = {"AVX512": ("-march=x86-64-v4",), "AVX2": ("-march=x86-64-v3",)}
"""By torch's name for the CPU's capability, which ATEN_CPU_CAPABILITY=avx2 or =default lowers; the
compiler's default for other CPUs. Not -march=native: its meaning would not be in the digest."""
FLAGS_VARIABLE = "BENCH_KERNEL_FLAGS"
"""Environment variable with additional compiler flags, such as ``-fsanitize=address,undefined``.
CFLAGS is ignored: it is often set for other programs, and would change the speed."""
COMPILERS = ("cc", "gcc", "clang")
BUILD_SECONDS = 120.0
POLL_SECONDS = 0.05


class BuildError(Exception):
    """kernel.c cannot be compiled or loaded on this machine; the message has one line."""


def target() -> str:
    """The vector instructions compiled for, and the user's additional flags."""
    return " ".join((torch.backends.cpu.get_cpu_capability(), *_extra_flags()))


def load() -> ctypes.CDLL:
    """The library, from the cache or compiled.

    One process compiles while others wait. If the cache cannot be written, each process compiles
    in a temporary folder, which is removed before this returns.

    Raises:
        BuildError: there is no compiler, or it fails.
    """
    try:
        compiler = _compiler()
        capability = torch.backends.cpu.get_cpu_capability()
        flags = [*FLAGS, *ARCHITECTURES.get(capability, ()), *_extra_flags()]
        cached = _cache_folder() / f"{SOURCE.stem}-{_digest(compiler, flags)}.so"
        with suppress(OSError):
            return ctypes.CDLL(str(cached))
        with _build_lock(cached.with_name("lock")):
            with suppress(OSError):  # another process has compiled it meanwhile
                return ctypes.CDLL(str(cached))
            return _compile([*compiler, *flags, str(SOURCE)], cached)
    except subprocess.CalledProcessError as error:
        errors = [line for line in error.stderr.splitlines() if "error" in line.lower()]
        reason = errors[0] if errors else f"{error.cmd[0]} ended with {error.returncode}"
        raise BuildError(f"{SOURCE.name} could not be built: {reason}") from error
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise BuildError(f"{SOURCE.name} could not be built: {error}") from error


def _digest(compiler: Sequence[str], flags: Sequence[str]) -> str:
    """Digest of everything that determines the code of the library."""
    version = subprocess.run(
        [*compiler, "--version"], capture_output=True, text=True, timeout=BUILD_SECONDS
    ).stdout
    parts = (SOURCE.read_text(encoding="utf-8"), compiler, version, flags, platform.machine())
    return sha256(repr(parts).encode()).hexdigest()[:16]


def _compile(command: Sequence[str], cached: Path) -> ctypes.CDLL:
    """The library built by `command`; it is copied to `cached` if possible."""
    with TemporaryDirectory(prefix="deepspeech-bench-") as folder:
        built = Path(folder, cached.name)
        subprocess.run(
            [*command, "-o", str(built)],
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
        partial = cached.with_name(f"{cached.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(built, partial)
            partial.replace(cached)  # atomic
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        # A loaded library stays usable after its file is deleted.
        return ctypes.CDLL(str(built))


@contextmanager
def _build_lock(lock: Path) -> Iterator[None]:
    """At most one process is inside the block, unless `lock` cannot be created or locked."""
    with suppress(OSError):
        lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = lock.open("w")
    except OSError:
        yield
        return
    with handle:
        deadline = time.monotonic() + BUILD_SECONDS
        while time.monotonic() < deadline:  # bounded, as the holder may be suspended
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(POLL_SECONDS)
            except OSError:  # a file system without locks
                break
        yield


def _cache_folder() -> Path:
    """A folder in the cache, by the rule of `bench.core.paths.cache_root`; without a home folder a
    path that cannot be written."""
    if given := os.environ.get("BENCH_CACHE"):
        return Path(given).absolute() / "kernel"
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        caches = Path(os.devnull)
    return caches.absolute() / "deepspeech-bench" / "kernel"


def _compiler() -> list[str]:
    """The command of CC, else the first compiler on the path."""
    chosen = shlex.split(os.environ.get("CC", ""))
    found = chosen or list(filter(None, map(shutil.which, COMPILERS)))[:1]
    if not found:
        raise BuildError("there is no C compiler; install gcc, or set CC")
    return found


def _extra_flags() -> list[str]:
    return shlex.split(os.environ.get(FLAGS_VARIABLE, ""))
