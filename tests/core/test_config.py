import json
from dataclasses import dataclass
from typing import Literal

import pytest

from bench.core.config import digest, flatten, from_dict, parse_settings, to_dict, updated
from bench.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.1
    kernel: tuple[int, ...] = (11, 5)
    kind: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate cannot be negative, got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = Inner()
    limit: float | None = None
    flag: bool = False
    count: int = 1


CONFIG = Outer(name="x", inner=Inner(rate=0.5, kernel=(3,)), limit=2.0)


def test_json_round_trip() -> None:
    assert from_dict(Outer, json.loads(json.dumps(to_dict(CONFIG)))) == CONFIG


def test_dotted_and_nested_updates_agree_and_leave_the_rest() -> None:
    dotted = updated(CONFIG, {"inner.rate": 1, "count": 3})
    assert dotted == updated(CONFIG, {"inner": {"rate": 1.0}, "count": 3})
    assert dotted.inner == Inner(rate=1.0, kernel=(3,))
    assert dotted.limit == 2.0


@pytest.mark.parametrize(
    "values, message",
    [
        ({"inner.rat": 1}, "unknown config key 'inner.rat'; did you mean rate?"),
        ({"inner.rate": -1}, "inner: rate cannot be negative, got -1.0"),
        ({"inner.rate": "fast"}, "config key 'inner.rate' takes float, got 'fast'"),
        ({"inner.kind": "c"}, "config key 'inner.kind' takes one of a, b, got 'c'"),
        ({"count": 1.5}, "config key 'count' takes int, got 1.5"),
        ({"count": True}, "config key 'count' takes int, got True"),
        ({"flag": 1}, "config key 'flag' takes bool, got 1"),
        ({"name.x": 1}, "config key 'name' takes str, got {'x': 1}"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        updated(CONFIG, values)
    assert str(caught.value) == message


def test_missing_required_key_is_named() -> None:
    with pytest.raises(UserError, match="name"):
        from_dict(Outer, {})


def test_settings_are_json_else_text() -> None:
    parsed = parse_settings(["a=3e-4", "b=true", "c=word", "d=[1, 2]", "e=x=y", "f=null"])
    assert parsed == {"a": 3e-4, "b": True, "c": "word", "d": [1, 2], "e": "x=y", "f": None}
    with pytest.raises(UserError, match="key=value"):
        parse_settings(["nonsense"])


def test_flatten_gives_dotted_scalars() -> None:
    assert flatten(CONFIG)["inner.kernel"] == "3"
    assert flatten(CONFIG)["limit"] == 2.0
    assert flatten({"a": {"b": [1, 2]}}) == {"a.b": "1,2"}


def test_digest_sees_every_value_and_no_order() -> None:
    assert digest(CONFIG) != digest(updated(CONFIG, {"inner.kind": "b"}))
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
