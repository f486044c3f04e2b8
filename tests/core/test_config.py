import json
from dataclasses import dataclass, field
from typing import Literal

import pytest

from bench.core.config import (
    Layer,
    Origin,
    Settings,
    as_setting,
    digest,
    flatten,
    from_dict,
    identity,
    parse_settings,
    resolve,
    to_dict,
    updated,
)
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
        ({"inner.rate": "fast"}, "config key 'inner.rate' takes a number, got 'fast'"),
        ({"inner.kind": "c"}, "config key 'inner.kind' takes one of a, b, got 'c'"),
        ({"count": 1.5}, "config key 'count' takes a whole number, got 1.5"),
        ({"count": True}, "config key 'count' takes a whole number, got True"),
        ({"flag": 1}, "config key 'flag' takes true or false, got 1"),
        ({"name.x": 1}, "config key 'name' takes text, got {'x': 1}"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        updated(CONFIG, values)
    assert str(caught.value) == message


def test_missing_required_key_is_named() -> None:
    with pytest.raises(UserError, match=r"^config: lacks name; give every required key$"):
        from_dict(Outer, {})
    with pytest.raises(UserError, match=r"^mine\.toml: lacks name; give every"):
        from_dict(Outer, {"count": 3}, "mine.toml ")


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


def layer(name: str, settings: Settings) -> Layer:
    return Layer(Origin(name, f"{name}.toml"), settings)


def test_the_last_layer_wins_and_every_value_knows_its_origin() -> None:
    first = layer("first", {"inner.rate": 0.2, "count": 2, "inner.kernel": [7, 7]})
    found = resolve(CONFIG, [first, layer("second", {"inner.rate": 0.3})])
    assert found.config == updated(CONFIG, {"inner.rate": 0.3, "inner.kernel": (7, 7), "count": 2})
    assert found.origins.keys() == flatten(found.config).keys()
    told = {key: (origin.layer, origin.source) for key, origin in found.origins.items()}
    assert told["inner.rate"] == ("second", "second.toml")
    assert told["inner.kernel"] == told["count"] == ("first", "first.toml")
    here = __name__.replace(".", "/") + ".py"
    assert told["inner.kind"] == told["limit"] == ("default", here)


def test_only_the_result_of_all_layers_has_to_be_valid() -> None:
    layers = [layer("first", {"inner.rate": -1}), layer("second", {"inner.rate": 1})]
    assert resolve(CONFIG, layers).config.inner.rate == 1
    assert resolve(CONFIG, []).config == CONFIG


@pytest.mark.parametrize(
    "layers, message",
    [
        ([{"inner.rat": 1}, {"count": 2}], "layer-0.toml: unknown config key 'inner.rat'; did you mean rate?"),
        ([{"count": 2}, {"inner.rate": -1}, {"inner.kind": "b"}], "layer-1.toml: inner: rate cannot be negative, got -1.0"),
        ([{"inner.rate": -1}, {"inner.rate": 1}, {"count": "x"}], "layer-2.toml: config key 'count' takes a whole number, got 'x'"),
        ([{"inner": 3}, {}], "layer-0.toml: config key 'inner' takes a table, got 3"),
        ([{"inner.rate": 1}, {"inner": 3}], "layer-1.toml: config key 'inner' takes a table, got 3"),
    ],
)  # fmt: skip
def test_the_layer_to_blame_is_named(layers: list[Settings], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(CONFIG, [layer(f"layer-{n}", settings) for n, settings in enumerate(layers)])
    assert str(caught.value) == message


@dataclass(frozen=True, kw_only=True)
class Noted:
    settings: Settings
    source: str = field(compare=False)


def test_where_a_value_came_from_is_no_part_of_what_it_is() -> None:
    one, other = (Noted(settings={"a": [1, (2,)]}, source=name) for name in "xy")
    assert identity(one) == {"settings": {"a": [1, [2]]}}
    assert digest(one) == digest(other)
    assert from_dict(Noted, to_dict(one)).source == "x"
    with pytest.raises(UserError, match=r"config key 'settings\.a' takes .*, got \{'b': 1\}"):
        from_dict(Noted, {"settings": {"a": {"b": 1}}, "source": "x"})


@pytest.mark.parametrize("value", [3e-4, True, None, "word", [1, 2], [[8, 1, 3]]])
def test_a_value_is_shown_as_set_reads_it(value: object) -> None:
    assert parse_settings([f"key={as_setting(value)}"]) == {"key": value}  # type: ignore[arg-type]
