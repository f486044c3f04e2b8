"""Measurements are stored for the reports."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.costs.records import FILE, LATENCY_FILE, load, load_latency, save, save_latency
from tests.latency_rows import latency_row
from tests.speed_rows import speed_row

GRU = speed_row(variant="ds-gru")
LSTM = speed_row(variant="ds-lstm", family=None)


def test_a_later_measurement_of_the_same_replaces_the_earlier(tmp_path: Path) -> None:
    faster, wider = replace(GRU, padding_share=0.1), replace(GRU, width=512)
    for row in (LSTM, GRU, faster, wider):
        save(row, tmp_path)
    assert load(["ds-lstm", "ds-gru", "never-measured"], tmp_path) == (LSTM, faster, wider)
    assert load(["ds-gru", "ds-gru"], tmp_path) == (faster, wider)


def test_latencies_of_a_study_are_those_of_a_cpu_if_there_are_any(tmp_path: Path) -> None:
    gpu = latency_row(device="cuda")
    other, first, again = latency_row(study="t"), latency_row(), latency_row(num_words=7)
    assert load_latency("s", ["ds-gru"], tmp_path) == ()
    for row in (gpu, other):
        save_latency(row, tmp_path)
    assert load_latency("s", ["ds-lstm", "ds-gru"], tmp_path) == (gpu,)
    for row in (first, again):
        save_latency(row, tmp_path)
    assert load_latency("s", ["ds-lstm", "ds-gru"], tmp_path) == (again,)
    (tmp_path / LATENCY_FILE).write_text("[")
    with pytest.raises(UserError, match=r"latency\.json must hold rows .* delete the file"):
        load_latency("s", ["ds-gru"], tmp_path)


def test_without_a_measurement_there_are_no_rows(tmp_path: Path) -> None:
    assert load(["ds-gru"], tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "Expecting value"),
        ("{}1", "Extra data"),
        ("7", "int instead of a list"),
        ('{"a": 3}', "dict instead of a list"),
        ("[3]", "[0]: holds keys and values, got 3"),
        ('[{"variant": "ds-gru"}]', "give every required key"),
        ('[{"variant": "ds-gru", "plain_ratio": 2.0}]', "plain_ratio"),
        ('[{"variant": 3}]', "'[0].variant' takes text, got 3"),
        ("\xff", "decode"),
    ],
)
def test_a_damaged_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"speed\.json must hold rows .* delete the file") as error:
        load(["ds-gru"], tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
