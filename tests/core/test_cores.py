"""Cores: those that the process may run on, or what a container's share of time comes to."""

import os
from pathlib import Path

import pytest

from bench.core import cores


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({}, "0::/\n", 64),
        ({"cpu.max": "max 100000\n"}, "0::/\n", 64),
        ({"cpu.max": "400000 100000\n"}, "0::/\n", 4),
        ({"cpu.max": "250000 100000\n"}, "0::/\n", 2),
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),
        ({"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 3),
        ({"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "200000 100000\n"}, "0::/a/b\n", 2),
        ({"other/cpu.max": "100000 100000\n"}, "0::/a\n", 64),
        ({"cpu.max": "100000 100000\n"}, "4:cpu:/a\n", 64),  # cgroup v1
        ({"cpu.max": "100000 100000\n"}, None, 64),
    ],
)
def test_cores(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    own: str | None,
    expected: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(cores, "OWN_CGROUP", tmp_path / "cgroup")
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if own is not None:
        (tmp_path / "cgroup").write_text(own)
    assert cores.num_cores() == expected


def test_cores_of_this_machine() -> None:
    assert 1 <= cores.num_cores() <= (os.cpu_count() or 1)
