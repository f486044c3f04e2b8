"""What the commands share."""

import json
import math
from typing import NoReturn

import numpy as np
import pytest

from bench.core import cli


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is not JSON")

    rows = [{"high": math.inf, "low": (np.float64("nan"), 1.5)}, {"n": 3, "text": "Infinity"}]
    cli.print_json({"rows": rows})
    told = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert told == {
        "rows": [{"high": None, "low": [None, 1.5]}, {"n": 3, "text": "Infinity"}],
    }
