"""The alphabet, and the one way in which transcripts are normalised to it.

Symbol 0 is CTC's blank; 1 is the space, 2 the apostrophe, 3 to 28 are a to z. Models never see
another symbol, and error rates are counted on normalised text, so both are versioned and hashed
into every run.
"""

import string
import unicodedata
from collections.abc import Iterable

from bench.core.config import digest

TEXT_VERSION = "1"
"""Raised whenever `normalize` gives another text for some input: results then do not compare."""

BLANK = 0
ALPHABET = " '" + string.ascii_lowercase
"""The symbols with index 1, 2, …"""
NUM_SYMBOLS = 1 + len(ALPHABET)

_INDEX = {symbol: index for index, symbol in enumerate(ALPHABET, start=1)}
_APOSTROPHES = "’‘ʼ`´＇"
_SEPARATORS = '-‐‑‒–—―−.,?!;:"“”„'
_REPLACED = str.maketrans(
    dict.fromkeys(_APOSTROPHES, "'") | dict.fromkeys(_SEPARATORS, " ")
)  # fmt: skip


def normalize(text: str) -> str:
    """`text` in lower case, typographic forms made plain, punctuation and white space as one space.

    Accents and digits stay as they are: how to say them is not ours to guess (see
    `unknown_symbols`).
    """
    # Before NFKC too, which takes the accent ´ apart; and NFKC after lower(), which can undo it.
    plain = unicodedata.normalize("NFKC", text.translate(_REPLACED)).lower()
    return " ".join(unicodedata.normalize("NFKC", plain).translate(_REPLACED).split())


def unknown_symbols(text: str) -> str:
    """The distinct symbols of normalised `text` that are outside the alphabet, sorted; "" if there
    are none.
    """
    return "".join(sorted(set(text) - _INDEX.keys()))


def encode(text: str) -> list[int]:
    """Normalised `text` as symbol indices (1 to 28, never the blank)."""
    return [_INDEX[symbol] for symbol in text]


def decode(indices: Iterable[int]) -> str:
    """The text of symbol `indices`, the inverse of `encode`; blanks must have been taken out."""
    chosen = list(indices)
    assert all(BLANK < index < NUM_SYMBOLS for index in chosen), f"not symbols of text: {chosen}"
    return "".join(ALPHABET[index - 1] for index in chosen)


def text_digest() -> str:
    """Names alphabet and normalisation: texts compare only under the same one."""
    return digest({"alphabet": ALPHABET, "version": TEXT_VERSION})
