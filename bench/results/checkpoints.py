"""Finding the checkpoint that a command's flags name."""

from pathlib import Path

import pandas as pd

from bench.core.errors import UserError
from bench.core.paths import OUT
from bench.runs import confirmed, read_study
from bench.study.definition import find_study, studies_newest_first


def find_checkpoint(checkpoint: Path | None, study: str | None) -> Path:
    """`checkpoint` if given, else the best one of `study`, else that of the newest study with one.

    Raises:
        UserError: no such file, or no study with a finished confirm run.
    """
    if checkpoint is not None:
        if not checkpoint.is_file():
            raise UserError(
                f"--checkpoint names a file, {checkpoint} is none; see out/*/runs/*/*/checkpoints"
            )
        return checkpoint
    folders = [find_study(study)] if study is not None else studies_newest_first()
    for folder in folders:
        best = best_checkpoint(folder, read_study(folder).runs)
        if best is not None:
            return best
    where = f"study {study!r}" if study is not None else f"{OUT}/"
    raise UserError(
        f"{where} holds no finished confirm run; run python -m bench.sweep, or give --checkpoint"
    )


def best_checkpoint(folder: Path, runs: pd.DataFrame) -> Path | None:
    """The best checkpoint of `runs`, some of the study in `folder`; None if none has ended well."""
    for _, run in confirmed(runs).iterrows():
        path = folder / "runs" / str(run["run"]) / "checkpoints" / "best.pt"
        if path.exists():
            return path
    return None
