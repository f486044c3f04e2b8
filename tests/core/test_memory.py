"""Memory that runs out is told from a fault of the run."""

import errno
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.core import cores, memory
from bench.core.errors import OutOfHostMemoryError, UnwritableError, UserError
from bench.core.memory import (
    address_space_limit,
    as_exhausted,
    available_bytes,
    check_address_space,
    is_out_of_memory,
    num_killed,
)

TOO_MANY = 1 << 52


def raised_by(call: object) -> BaseException:
    try:
        call()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("there is enough memory")


@pytest.mark.parametrize(
    "error",
    [
        raised_by(lambda: bytes(TOO_MANY)),
        raised_by(lambda: np.zeros(TOO_MANY)),
        raised_by(lambda: torch.empty(TOO_MANY)),
        OSError(errno.ENOMEM, "Cannot allocate memory"),  # fork, mmap
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
        ImportError("/x/_a.so: failed to map segment from shared object"),
        OutOfHostMemoryError("…"),
    ],
    ids=repr,
)
def test_recognised_also_as_a_cause(error: BaseException) -> None:
    assert is_out_of_memory(error)
    outer = ValueError("some library's own")
    outer.__cause__ = error
    assert is_out_of_memory(outer)
    found = as_exhausted(outer)
    assert found is not None
    assert "memory ran out" in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("shape mismatch"),
        ImportError("No module named 'x'"),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_faults_are_others(error: BaseException) -> None:
    assert not is_out_of_memory(error)
    assert as_exhausted(error) is None


def test_a_loop_of_causes_ends() -> None:
    error = ValueError("a")
    error.__context__ = KeyError("b")
    error.__context__.__context__ = error
    assert not is_out_of_memory(error)


def test_a_full_disk_keeps_its_words() -> None:
    full = UnwritableError(Path("x"), OSError(errno.ENOSPC, "No space left on device"))
    assert as_exhausted(full) is full


def test_too_little_address_space_is_refused_before_libraries_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def limited_to(num_bytes: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda which: (num_bytes, num_bytes))

    limited_to(3_500_000 * 1024)
    with pytest.raises(UserError, match=r"ulimit -v allows 3,500,000; raise it"):
        check_address_space()
    limited_to(8 << 30)
    check_address_space()
    assert address_space_limit() == 8 << 30
    limited_to(resource.RLIM_INFINITY)
    check_address_space()
    assert address_space_limit() is None


def test_what_is_left_is_the_least_of_machine_and_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outer, inner = tmp_path, tmp_path / "pod" / "container"
    inner.mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/pod/container\n")
    monkeypatch.setattr(cores, "CGROUPS", outer)
    monkeypatch.setattr(cores, "OWN_CGROUP", own)
    assert available_bytes() > 1 << 20
    for folder, allowed in ((inner, "max"), (inner.parent, "3000000")):
        (folder / "memory.max").write_text(f"{allowed}\n")
        (folder / "memory.current").write_text("1000000\n")
    assert available_bytes() == 2_000_000


def test_the_kernel_counts_what_it_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert num_killed() >= 0
    counts = tmp_path / "vmstat"
    monkeypatch.setattr(memory, "_VMSTAT", counts)
    assert num_killed() == 0
    counts.write_text("nr_free_pages 7\noom_kill 3\n")
    assert num_killed() == 3
