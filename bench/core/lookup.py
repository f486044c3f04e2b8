"""Lookup of a name in a table, with similar names in the error if it is unknown."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from bench.core.errors import UserError

T = TypeVar("T")


def near_names(name: str, known: Iterable[str]) -> str:
    """The hint of an error about an unknown name: similar names if there are any, else all."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(names) or 'none'}"


def look_up(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry `name` of `table`.

    Raises:
        UserError: no such entry; states `what` was looked up, such as "variant", and similar names.
    """
    if name not in table:
        raise UserError(f"unknown {what} {name!r}; {near_names(name, table)}")
    return table[name]
