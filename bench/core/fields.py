"""The fields of a config as people read them: type, default, and the text under each field."""

import ast
import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.core.config import as_setting, dotted, to_dict, type_in_words


@dataclass(frozen=True)
class FieldInfo:
    """One field of a config."""

    key: str
    """Dotted, as ``--set`` takes it."""
    type: str
    """In words: "whole number", "one of rnn, gru, lstm"."""
    default: str
    """As ``--set`` takes it."""
    description: str
    """The text under the field, in one line; "" if there is none."""


def fields_of(config: Any, prefix: str = "") -> Iterator[FieldInfo]:
    """Every field of the dataclass `config` and of the configs in it."""
    values, texts = dotted(to_dict(config)), _texts(type(config))
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        key, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields_of(value, f"{key}.")
            continue
        default, text = as_setting(values[field.name]), texts.get(field.name, "")
        yield FieldInfo(key, type_in_words(hints[field.name]), default, text)


def _texts(cls: type) -> dict[str, str]:
    """By field, the string literal under it in the source of `cls` or of a base class."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):  # bases first: a class's own text wins
        try:
            tree = ast.parse(inspect.getsource(sys.modules[base.__module__]))
        except (OSError, TypeError, KeyError):  # no source: made by a program
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == base.__name__:
                found |= _under_fields(node)
    return found


def _under_fields(node: ast.ClassDef) -> dict[str, str]:
    texts = {}
    # The text under a field is the statement after it.
    for field, text in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            texts[field.target.id] = " ".join(text.value.value.split())
    return texts
