"""What a study or a system may be called: its name is that of a folder, of an experiment in MLflow
and of a queue."""

import unicodedata
from collections.abc import Collection

MAX_NAME_BYTES = 200
"""In UTF-8; a file's name has 255 at most, and endings are added."""


def check_name(name: str, what: str, reserved: Collection[str] = ()) -> None:
    """Refuse what could not be the name of a folder everywhere, or would climb out of one.

    `what` says what is named, such as "a study"; `reserved` are names that mean something else.

    Raises:
        ValueError: it is no such name.
    """
    size = len(name.encode(errors="replace"))
    if size > MAX_NAME_BYTES:
        raise ValueError(
            f"the name of {what} has at most {MAX_NAME_BYTES} bytes, got {size} ({name[:40]!r}…); "
            "shorten it"
        )
    if not (name[:1].isalnum() and all(map(_is_allowed, name))):
        raise ValueError(
            f"{what} is called by letters, digits, and . - _ + behind the first, got {name!r}; "
            "rename it"
        )
    if name.casefold() in reserved:
        raise ValueError(f"{name!r} is the folder of something else; give {what} another name")


def _is_allowed(character: str) -> bool:
    """Of letters also the accents that are characters of their own."""
    return character in ".-_+" or unicodedata.category(character)[0] in "LMN"
