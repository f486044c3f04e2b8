"""Measurements of bench.speed in ``out/speed.json`` and ``out/latency.json``, where reports find
them."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from bench.core.config import from_dict
from bench.core.errors import UserError
from bench.core.files import write_json
from bench.core.paths import OUT
from reports.measurements import LatencyRow, SpeedRow

FILE = "speed.json"
LATENCY_FILE = "latency.json"

Row = TypeVar("Row", bound=SpeedRow | LatencyRow)


def save(row: SpeedRow | LatencyRow, folder: Path = OUT) -> None:
    """Add `row`; it replaces an earlier measurement of the same network and conditions, or of the
    latency of the same run on the same kind of device.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / (FILE if isinstance(row, SpeedRow) else LATENCY_FILE)
    rows = {_key(known): known for known in [*_read(type(row), path), row]}
    write_json(path, [asdict(rows[key]) for key in sorted(rows)])


def load(variants: Iterable[str], folder: Path = OUT) -> tuple[SpeedRow, ...]:
    """The measurements of `variants`, in their order.

    Raises:
        UserError: the file is damaged.
    """
    rows = _read(SpeedRow, folder / FILE)
    return tuple(row for name in dict.fromkeys(variants) for row in rows if row.variant == name)


def load_latency(study: str, systems: Iterable[str], folder: Path = OUT) -> tuple[LatencyRow, ...]:
    """The measurements of a study's runs on a CPU (if there are none, on a GPU), in the order of
    `systems`.

    Raises:
        UserError: the file is damaged.
    """
    rows = [row for row in _read(LatencyRow, folder / LATENCY_FILE) if row.study == study]
    rows = [row for row in rows if row.device == "cpu"] or rows
    return tuple(row for name in systems for row in rows if row.system == name)


def _key(row: SpeedRow | LatencyRow) -> tuple[str | int | float, ...]:
    if isinstance(row, LatencyRow):
        return row.study, row.run, row.device
    return row.variant, row.width, *row.conditions


def _read(kind: type[Row], path: Path) -> list[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise ValueError(f"{type(rows).__name__} instead of a list")
        return [from_dict(kind, row, f"[{index}].") for index, row in enumerate(rows)]
    except FileNotFoundError:
        return []
    except (ValueError, UserError) as error:
        raise UserError(
            f"{path} must hold rows as this version of python -m bench.speed writes them, got "
            f"{error}; delete the file and measure again"
        ) from error
