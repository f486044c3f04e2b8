"""Lookup of a name in a written-out table, with near names when it is not there."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from bench.core.errors import UserError

T = TypeVar("T")


def near_names(name: str, known: Iterable[str]) -> str:
    """The half sentence that helps after an unknown name: near names if any, else every known
    one."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(names) or 'none'}"


def look_up(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry `name` of `table`.

    Raises:
        UserError: no such entry; says what was looked for (`what`, such as "variant") and which
            names are near.
    """
    if name not in table:
        raise UserError(f"unknown {what} {name!r}; {near_names(name, table)}")
    return table[name]
