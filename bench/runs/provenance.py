"""The provenance of a run: code, versions, hardware.

Nothing here fails for want of git, a GPU or Linux.
"""

import os
import platform
import socket
import subprocess
from collections import Counter
from importlib import metadata
from pathlib import Path

import psutil
import torch

from bench.core.masking import mask
from variants.ops import kernel

ROOT = Path(__file__).resolve().parents[2]
"""The source tree whose commit is recorded."""

DEPENDENCIES = (
    "torch", "torchaudio", "soundfile", "numpy", "jiwer", "mlflow", "matplotlib", "optuna",
    "pandas", "scipy", "plotly", "jinja2", "rich",
    "rapidfuzz", "pillow", "psutil", "sqlalchemy",
    "espeakng-loader", "nvidia-ml-py",
)  # fmt: skip

MAX_DIFF_BYTES = 1_000_000


def environment(root: Path = ROOT) -> dict[str, str]:
    """Flat facts about code, versions and hardware; facts that cannot be found are omitted."""
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hostname": socket.gethostname(),
        "cpu": _cpu_model(),
        "cpu_cores": str(os.cpu_count()),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "threads": str(torch.get_num_threads()),
        "recurrence": kernel.description(),
        "cuda": torch.version.cuda or "",
        **_gpus(),
        **{f"version.{name}": _version(name) for name in DEPENDENCIES},
        "git.commit": _git(root, "rev-parse", "HEAD").strip(),
    }
    if facts["git.commit"]:
        facts["git.dirty"] = "yes" if _git(root, "status", "--porcelain") else "no"
    return {key: value for key, value in facts.items() if value}


def git_diff(root: Path = ROOT) -> str:
    """The diff of tracked files to the commit, passwords masked; empty outside a repository.

    Cut at MAX_DIFF_BYTES, with a last line that says so.
    """
    diff = mask(_git(root, "diff", "HEAD"))
    if len(diff.encode()) <= MAX_DIFF_BYTES:
        return diff
    kept = diff.encode()[:MAX_DIFF_BYTES].decode(errors="ignore")
    return f"{kept}\n[cut: the diff has {len(diff.encode())} bytes]\n"


def _git(root: Path, *command: str) -> str:
    # Only our own tree: an installed copy must not take the commit of a repository around it.
    if not (root / ".git").exists():
        return ""
    return _output("git", "--no-optional-locks", "-C", str(root), *command)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _gpus() -> dict[str, str]:
    """Names and driver, from the driver's tool: asking torch would take memory on the device."""
    listed = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    rows = [line.rpartition(", ") for line in listed.splitlines() if ", " in line]
    names = Counter(name for name, _, _ in rows)
    return {
        "gpu": ", ".join(f"{count} x {name}" for name, count in names.items()),
        "gpu_driver": rows[0][2] if rows else "",
    }
