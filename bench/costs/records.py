"""Measurements of bench.speed in ``out/speed.json``, where reports find them."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from bench.core.config import from_dict
from bench.core.errors import UserError
from bench.core.paths import OUT, write_json
from reports.input import SpeedRow

FILE = "speed.json"


def save(row: SpeedRow, folder: Path = OUT) -> None:
    """Add `row`; it replaces an earlier measurement of the same network and conditions.

    Raises:
        UserError: the file is damaged.
    """
    rows = {_key(known): known for known in [*_read(folder / FILE), row]}
    write_json(folder / FILE, [asdict(rows[key]) for key in sorted(rows)])


def load(variants: Iterable[str], folder: Path = OUT) -> tuple[SpeedRow, ...]:
    """The measurements of `variants`, in their order.

    Raises:
        UserError: the file is damaged.
    """
    rows = _read(folder / FILE)
    return tuple(row for name in dict.fromkeys(variants) for row in rows if row.variant == name)


def _key(row: SpeedRow) -> tuple[str, int, str, float, float]:
    return (row.variant, row.width, *row.conditions)


def _read(path: Path) -> list[SpeedRow]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise ValueError(f"{type(rows).__name__} instead of a list")
        return [from_dict(SpeedRow, row, f"[{index}].") for index, row in enumerate(rows)]
    except FileNotFoundError:
        return []
    except (ValueError, UserError) as error:
        raise UserError(
            f"{path} must hold rows as this version of python -m bench.speed writes them, got "
            f"{error}; delete the file and measure again"
        ) from error
