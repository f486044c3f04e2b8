"""JSON and TOML that anybody may have written: a value comes out, or a ValueError, nothing else."""

import json
import sys
import tomllib
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 50
"""Values are nested so deep at most; ours are 5. Deeper ones exhaust Python's stack somewhere."""


def parse_json(text: str | bytes) -> Any:
    """The value that `text` holds; numbers may be NaN or infinite, as Python writes them.

    Raises:
        ValueError: no JSON, no UTF-8, an integer beyond the largest float, halves of a surrogate
            pair (text that no file can hold), too deeply nested.
    """
    return _checked(json.loads, text.decode() if isinstance(text, bytes) else text)


def parse_toml(text: str) -> dict[str, Any]:
    """The tables that `text` holds; errors as in `parse_json`."""
    tables: dict[str, Any] = _checked(tomllib.loads, text)
    return tables


def _checked(parse: Callable[[str], Any], text: str) -> Any:
    try:
        value = parse(text)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        if any(isinstance(item, int) and abs(item) > sys.float_info.max for item in level):
            raise ValueError(f"it holds an integer beyond {sys.float_info.max:.0e}")
        level = [item for outer in level for item in _items(outer)]
        if not level:
            break
    else:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if "\\u" in text:
        # Only an escape can bring in half of a pair: decoded UTF-8 has none.
        json.dumps(value, ensure_ascii=False, default=str).encode()
    return value


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
