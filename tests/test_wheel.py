"""The project installed as a wheel: all that the commands read travels with it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from bench.data.utterance import Corpus
from tests.tones import write_table

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("bench", "variants", "reports", "sweeps")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy: setuptools leaves its folders in the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "--no-build-isolation", "--wheel-dir", str(folder), str(tree)], check=True
    )
    (made,) = folder.glob("*.whl")
    return made


@pytest.mark.slow
def test_it_holds_every_file(wheel: Path) -> None:
    kept = set(zipfile.ZipFile(wheel).namelist())
    files = [path for name in SOURCES for path in (ROOT / name).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert expected - kept == set()


@pytest.mark.slow
def test_a_sweep_in_another_folder(wheel: Path, tmp_path: Path, tone_corpus: Corpus) -> None:
    """In an environment of its own that borrows the libraries of this one."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", str(wheel)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_table(tone_corpus, elsewhere / "tones.jsonl")
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(verb: str, *arguments: str) -> str:
        ended = subprocess.run(
            [python, "-m", f"bench.{verb}", *arguments],
            cwd=elsewhere,
            env={**env, "BENCH_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    where = subprocess.run(
        [python, "-c", "import bench.sweep; print(bench.sweep.__file__)"],
        cwd=elsewhere, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(venv)
    assert json.loads(run("ls", "questions", "--json"))
    assert run("deploy", "dockerfile").startswith("# The image of a sweep")
    small = ("--set", "model.width=16", "--set", "model.convs=[[16, 11, 3]]", "--budget", "smoke")
    arguments = ("--variant", "ds-rnn", "--corpus", "manifest:tones.jsonl", *small)
    result = json.loads(run("sweep", *arguments, "--workers", "1", "--json"))
    assert (elsewhere / result["report"]).exists()
    assert list((tmp_path / "cache" / "kernel").glob("*.so")), "kernel.c is in the wheel"
