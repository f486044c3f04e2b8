"""Facts about a run's surroundings, with git and without."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from bench.runs import provenance
from bench.runs.provenance import DEPENDENCIES, ROOT, environment, git_diff


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    def git(*command: str) -> None:
        names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", tmp_path, *names, *command], check=True, capture_output=True)

    git("init")
    (tmp_path / "code.py").write_text("one = 1\n")
    git("add", ".")
    git("commit", "-m", "first")
    return tmp_path


def test_commit_and_diff(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = environment(repository)
    assert len(clean["git.commit"]) == 40
    assert (clean["git.dirty"], git_diff(repository)) == ("no", "")
    (repository / "code.py").write_text("one = 2\n" + "# 3 Hühner\n" * 30)
    assert environment(repository)["git.dirty"] == "yes"
    assert "-one = 1\n+one = 2\n" in git_diff(repository)
    monkeypatch.setattr(provenance, "MAX_DIFF_BYTES", 200)
    assert "[cut: the diff has " in git_diff(repository)
    assert len(git_diff(repository).encode()) < 250


def test_a_password_in_the_diff_is_masked(repository: Path) -> None:
    (repository / "code.py").write_text('STORAGE = "postgresql://ann:hunter2@host/db"\n')
    assert '+STORAGE = "postgresql://ann:***@host/db"' in git_diff(repository)


def test_outside_a_repository_and_without_git(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = repository / "installed"
    inside.mkdir()
    assert "git.commit" not in environment(inside)
    monkeypatch.setenv("PATH", "")
    facts = environment(repository)
    assert "git.commit" not in facts
    assert git_diff(repository) == ""
    assert {"python", "platform", "hostname", "cpu_cores", "memory_gib", "threads"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())


def test_gpus_are_counted_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = "NVIDIA H200, 570.1\nNVIDIA H200, 570.1\nNVIDIA T4, 570.1\n"
    monkeypatch.setattr(provenance, "_output", lambda *command: listed)
    facts = environment(Path("/nowhere"))
    assert facts["gpu"] == "2 x NVIDIA H200, 1 x NVIDIA T4"
    assert facts["gpu_driver"] == "570.1"


def test_every_direct_dependency_is_recorded() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["spoken"]]
    assert {line.partition(">=")[0] for line in lines} <= set(DEPENDENCIES)
    assert environment()["version.torch"]
