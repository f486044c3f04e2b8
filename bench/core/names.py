"""Valid names of studies and systems, which are names of folders, MLflow experiments and queues."""

import unicodedata
from collections.abc import Collection

MAX_NAME_BYTES = 200
"""In UTF-8. File names have at most 255 bytes, and suffixes are appended."""


def check_name(name: str, what: str, reserved: Collection[str] = ()) -> None:
    """Refuse a name that is not valid as a folder's name on every system, or leads out of its
    parent folder.

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
