"""Names: look-up in a table, with similar names in the error, and what may be a name at all."""

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from bench.core.errors import UserError

T = TypeVar("T")

MAX_NAME_BYTES = 200
"""In UTF-8. File names have at most 255 bytes, and suffixes are appended."""


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


def check_name(name: str, what: str, reserved: Collection[str] = ()) -> None:
    """Refuse a name of a study or a system, which is that of a folder, an MLflow experiment and a
    queue, if it is not valid on every system or leads out of its parent folder.

    `what` is the kind of name for errors, such as "a study"; `reserved` names have another meaning.

    Raises:
        ValueError: the name is not valid.
    """
    size = len(name.encode(errors="replace"))
    if size > MAX_NAME_BYTES:
        raise ValueError(
            f"the name of {what} has at most {MAX_NAME_BYTES} bytes, got {size} ({name[:40]!r}…); "
            "shorten it"
        )
    if not (name[:1].isalnum() and all(map(_is_allowed, name))):
        raise ValueError(
            f"the name of {what} begins with a letter or digit and has only letters, digits and "
            f". - _ +, got {name!r}; rename it"
        )
    if name.casefold() in reserved:
        raise ValueError(f"{name!r} is the folder of something else; give {what} another name")


def _is_allowed(character: str) -> bool:
    """True for letters, digits, combining marks (accents as separate characters) and . - _ +."""
    return character in ".-_+" or unicodedata.category(character)[0] in "LMN"
