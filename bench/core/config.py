"""Frozen dataclasses as configuration: JSON round trip, dotted settings, digests, layers.

`resolve` puts a config together from layers of settings, the later over the earlier, and says which
layer set each value, in which file or by which flag.

A config holds plain values only (bool, int, float, str, None, tuples of these, and other configs),
so that it can be stored, logged, compared and diffed. Each component owns its config class and
checks its ranges in ``__post_init__`` by raising ValueError; the functions here turn that into a
UserError that names the key.
"""

import dataclasses
import hashlib
import json
import sys
import types
import typing
from collections import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bench.core.errors import UserError
from bench.core.lookup import near_names
from bench.core.parsing import parse_json

C = TypeVar("C")
Scalar = bool | int | float | str | None
Setting = Scalar | Sequence[object]
"""A config's value as TOML, JSON or a flag gives it."""
Settings = Mapping[str, Setting]
"""Values by dotted config key."""

DEFAULT = "default"
"""The layer of values that only the config class sets."""


@dataclass(frozen=True)
class Origin:
    """The source of a config value."""

    layer: str
    """The kind of source: "default", "space", "budget", …"""
    source: str
    """Its file, with the table where it holds several, or the flag."""


@dataclass(frozen=True)
class Layer:
    """Settings of one origin."""

    origin: Origin
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class Resolved(Generic[C]):
    """A config with the origin of each value."""

    config: C
    origins: Mapping[str, Origin]
    """By dotted key, of every value."""


def resolve(defaults: C, layers: Iterable[Layer]) -> Resolved[C]:
    """`defaults` updated by the settings of `layers`; a later layer overrides an earlier one.

    Only the result has to be valid: a layer may correct an invalid value of an earlier one.

    Raises:
        UserError: as `updated`, after the source of the setting that is refused.
    """
    settings: dict[str, Setting] = {}
    origins = dict(_default_origins(defaults, ""))
    given = tuple(layers)
    for layer in given:
        settings |= layer.settings
        origins |= dict.fromkeys(layer.settings, layer.origin)
    try:
        return Resolved(config=updated(defaults, settings), origins=origins)
    except UserError as error:
        source, reason = _refused(defaults, given, error)
        raise UserError(f"{source}: {reason}") from error


def _default_origins(config: object, prefix: str) -> Iterator[tuple[str, Origin]]:
    assert dataclasses.is_dataclass(config)
    source = type(config).__module__.replace(".", "/") + ".py"
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _default_origins(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, Origin(DEFAULT, source)


def _refused(defaults: C, layers: Sequence[Layer], error: UserError) -> tuple[str, UserError]:
    """The source of the layer that causes `error`, and the error of its settings.

    It is the first layer after which the config stays invalid, whatever further layers are added:

        layers added    0     1     2     3     4
        config          ok    ok    bad   ok    bad     the cause is layer 4
    """
    source = layers[-1].origin.source
    for count in range(len(layers) - 1, -1, -1):
        settings = {k: v for layer in layers[:count] for k, v in layer.settings.items()}
        try:
            updated(defaults, settings)
        except UserError as earlier:
            source, error = layers[count - 1].origin.source, earlier
        else:
            break
    return source, error


def to_dict(config: object) -> dict[str, object]:
    """`config` as nested dicts and lists that JSON can hold."""
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    # Through JSON, so that a tuple is the list that a file would give back.
    plain = json.loads(json.dumps(dataclasses.asdict(config)))
    assert isinstance(plain, dict)
    return plain


def from_dict(cls: type[C], values: object, where: str = "") -> C:
    """Build `cls` from nested mappings, defaults for the keys that are missing.

    Raises:
        UserError: no mapping, unknown key (with near names), wrong type, or a value that the class
            refuses.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{_place(where)}: holds keys and values, got {values!r}")
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    names = {field.name for field in fields}
    for key in values:
        if key not in names:
            raise UserError(f"unknown config key {where + key!r}; {near_names(key, names)}")
    built = {key: _convert(hints[key], value, where + key) for key, value in values.items()}
    unset = dataclasses.MISSING
    required = (f.name for f in fields if f.default is unset and f.default_factory is unset)
    if missing := [name for name in required if name not in built]:
        raise UserError(f"{_place(where)}: lacks {', '.join(missing)}; give every required key")
    return _construct(cls, built, where)


def updated(config: C, values: Mapping[str, object], where: str = "") -> C:
    """`config` updated by `values`, whose keys may be nested or dotted.

    Raises:
        UserError: as `from_dict`.
    """
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    nested = _nest(values)
    hints = typing.get_type_hints(type(config))
    changes: dict[str, object] = {}
    for key, value in nested.items():
        if key not in hints:
            raise UserError(f"unknown config key {where + key!r}; {near_names(key, hints)}")
        current = getattr(config, key)
        if dataclasses.is_dataclass(current) and isinstance(value, Mapping):
            changes[key] = updated(current, value, f"{where}{key}.")
        else:
            changes[key] = _convert(hints[key], value, where + key)
    current_values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return _construct(type(config), current_values | changes, where)


def parse_settings(settings: Iterable[str]) -> dict[str, Setting]:
    """``["optim.learning_rate=3e-4", …]`` as ``{"optim.learning_rate": 0.0003, …}``; values are
    JSON, else text.

    Raises:
        UserError: an item without "=", or without a value.
    """
    parsed: dict[str, object] = {}
    for item in settings:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise UserError(
                f"a setting reads key=value, got {item!r}; "
                "write for instance optim.learning_rate=3e-4"
            )
        try:
            parsed[key] = parse_json(text)
        except ValueError:
            parsed[key] = text
        if parsed[key] == {}:
            raise UserError(f"a setting gives {key} a value, got {text}; write one behind =")
    return dotted(parsed)


def as_setting(value: object) -> str:
    """`value` as ``--set key=…`` reads it."""
    return value if isinstance(value, str) else json.dumps(value)


def flatten(config: object) -> dict[str, Scalar]:
    """`config` as one level of dotted keys; tuples become text such as ``11,5``."""
    nested = to_dict(config) if dataclasses.is_dataclass(config) else config
    flat = dotted(typing.cast(Mapping[str, object], nested))
    return {
        key: ",".join(map(str, value)) if isinstance(value, list) else typing.cast(Scalar, value)
        for key, value in flat.items()
    }


MAX_SHOWN = 5


def changes(was: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Where two flat configs differ, as "seed was 0, is 1; …"; "" where they do not. The first
    MAX_SHOWN keys by name, and the number of the others."""
    keys = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
    shown = "; ".join(f"{k} was {was.get(k)!r}, is {now.get(k)!r}" for k in keys[:MAX_SHOWN])
    return shown + (f" (and {len(keys) - MAX_SHOWN} more)" if len(keys) > MAX_SHOWN else "")


def identity(value: object) -> object:
    """`value` as `to_dict` has it, without the fields that take no part in equality: those say
    where a value came from, and two configs of equal values are the same config."""
    if dataclasses.is_dataclass(value):
        compared = (field.name for field in dataclasses.fields(value) if field.compare)
        return {name: identity(getattr(value, name)) for name in compared}
    if isinstance(value, Mapping):
        return {key: identity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    return value


def digest(value: object) -> str:
    """16 hex digits that name `value` (a config, or anything JSON can hold) by its content; of a
    config, its `identity`."""
    plain = identity(value) if dataclasses.is_dataclass(value) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dotted(values: Mapping[str, object]) -> dict[str, Setting]:
    """``{"model": {"width": 8}}`` as ``{"model.width": 8}``; no config value is a mapping."""
    flat: dict[str, Setting] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": deeper for inner, deeper in dotted(value).items()}
        else:
            flat[key] = typing.cast(Setting, value)
    return flat


def _nest(values: Mapping[str, object]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *parents, leaf = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UserError(
                    f"config key {key!r} goes through {parent!r}, which is set to a plain value"
                )
        if isinstance(value, Mapping):
            place.setdefault(leaf, {}).update(_nest(value))
        else:
            place[leaf] = value
    return nested


def _construct(cls: type[C], values: Mapping[str, object], where: str) -> C:
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        raise UserError(f"{_place(where)}: {error}") from error


def _place(where: str) -> str:
    """The prefix `where` of keys, as a message begins."""
    return where.rstrip(". ") or "config"


def _convert(hint: object, value: object, key: str) -> object:
    """`value`, of a type of JSON or TOML, converted to the type `hint`."""
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (typing.Union, types.UnionType)
        else (hint,)
    )
    for option in options:
        origin = typing.get_origin(option)
        if option is typing.Any or (option is type(None) and value is None):
            return value
        if origin is typing.Literal and value in typing.get_args(option):
            return value
        if dataclasses.is_dataclass(option) and isinstance(value, Mapping):
            return from_dict(typing.cast(type[Any], option), value, f"{key}.")
        if origin is abc.Sequence and isinstance(value, (list, tuple)):
            return value
        if origin is tuple and isinstance(value, (list, tuple)):
            inner = typing.get_args(option)[0]
            return tuple(_convert(inner, item, key) for item in value)
        if origin is abc.Mapping and isinstance(value, Mapping):
            inner = typing.get_args(option)[1]
            return {name: _convert(inner, item, f"{key}.{name}") for name, item in value.items()}
        # A bool is an int to Python, but true is no number of a config.
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            # float() would raise for it; JSON has no limit.
            if isinstance(value, int) and abs(value) > sys.float_info.max:
                continue
            return float(value)
        if option is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        # A NUL ends the text for the system, in names of files and in databases.
        if option in (bool, str) and isinstance(value, option) and "\0" not in str(value):
            return value
        if (
            isinstance(option, type)
            and dataclasses.is_dataclass(option)
            and isinstance(value, option)
        ):
            return value
    words = type_in_words(hint)
    article = "a " if words.startswith(("whole", "number", "list", "table")) else ""
    raise UserError(f"config key {key!r} takes {article}{words}, got {value!r}")


_TYPE_NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def type_in_words(hint: typing.Any) -> str:
    """The type `hint` as TOML and JSON have it: "whole number", "list of texts", "one of a, b"."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if kind is type(None) else type_in_words(kind) for kind in inner)
    if origin is tuple and Ellipsis in inner:
        return f"list of {_plural(type_in_words(inner[0]))}"
    if origin is abc.Mapping or dataclasses.is_dataclass(hint):
        return "table"
    return _TYPE_NAMES.get(hint) or str(getattr(hint, "__name__", hint))


def _plural(words: str) -> str:
    first, space, rest = words.partition(" of ")
    return f"{first}s{space}{rest}"
