"""The newest measurement of each kind, kept for the reports in ``out/speed.json``."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core.errors import UserError
from bench.core.files import write_json
from bench.core.paths import OUT
from bench.costs.measure import Costs

FILE = "speed.json"
KIND = ("variant", "width", "device", "utterance_seconds", "batch_seconds")
"""Two measurements that agree in these are of the same thing, and the later one counts."""


def keep(rows: Iterable[Costs], folder: Path = OUT) -> None:
    """Add `rows` to those kept."""
    kept = {_kind(row): row for row in [*_read(folder / FILE), *map(asdict, rows)]}
    write_json(folder / FILE, [kept[kind] for kind in sorted(kept)])


def measured(variants: Iterable[str], folder: Path = OUT) -> pd.DataFrame:
    """What is kept of `variants`, in their order: the columns of Costs, ``shares`` a dict.

    Raises:
        UserError: the file is damaged.
    """
    order = {variant: place for place, variant in enumerate(variants)}
    rows = [row for row in _read(folder / FILE) if row["variant"] in order]
    rows.sort(key=lambda row: order[row["variant"]])
    return pd.DataFrame(rows, columns=list(Costs.__dataclass_fields__))


def _kind(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in KIND)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            if row.keys() != Costs.__dataclass_fields__.keys():
                raise ValueError(f"{row.get('variant')!r} has other columns than today's")
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} must hold what python -m bench.speed wrote, got {error}; remove it and "
            "measure again"
        ) from error
    return rows
