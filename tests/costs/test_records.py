"""What was measured is kept for the reports."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.costs.ledger import FILE, keep, measured
from bench.costs.measure import Costs
from reports.input import COLUMNS

GRU = Costs(
    **dict.fromkeys(Costs.__dataclass_fields__, 1.0)  # type: ignore[arg-type]
    | {"variant": "ds-gru", "width": 256, "device": "cpu", "shares": {"data": 0.5, "forward": 0.5}}
)
LSTM = replace(GRU, variant="ds-lstm")


def test_a_later_measurement_of_the_same_replaces_the_earlier(tmp_path: Path) -> None:
    keep([LSTM, GRU], tmp_path)
    keep([replace(GRU, ratio=3.0), replace(GRU, width=512)], tmp_path)
    table = measured(["ds-lstm", "ds-gru", "never-measured"], tmp_path)
    assert list(zip(table["variant"], table["width"], table["ratio"], strict=True)) == [
        ("ds-lstm", 256, 1.0), ("ds-gru", 256, 3.0), ("ds-gru", 512, 1.0),
    ]  # fmt: skip
    assert table["shares"][0] == {"data": 0.5, "forward": 0.5}
    assert set(COLUMNS["speed"]) <= set(table.columns)


def test_nothing_measured_is_an_empty_table(tmp_path: Path) -> None:
    assert measured(["ds-gru"], tmp_path).empty
    assert set(COLUMNS["speed"]) <= set(measured([], tmp_path).columns)


@pytest.mark.parametrize("text", ["[", "{}1", '[{"variant": "ds-gru"}]', "[3]", '{"a": 3}', "7"])
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match=r"speed\.json must hold what .* remove it and measure"):
        measured(["ds-gru"], tmp_path)
