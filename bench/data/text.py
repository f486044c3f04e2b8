"""The alphabet, and the one way in which transcripts are normalised to it.

Symbol 0 is CTC's blank; 1 is the space, 2 the apostrophe, 3 to 28 are a to z. Models never see
another symbol, and error rates are counted on normalised text, so both are versioned and hashed
into every run.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable

from bench.core.config import digest

TEXT_VERSION = "2"
"""Raised whenever `normalize` gives another text for some input: results then do not compare."""

BLANK = 0
ALPHABET = " '" + string.ascii_lowercase
"""The symbols with index 1, 2, …"""
NUM_SYMBOLS = 1 + len(ALPHABET)

_INDEX = {symbol: index for index, symbol in enumerate(ALPHABET, start=1)}

_APOSTROPHE_NAMES = re.compile(
    r"APOSTROPHE|(LEFT|RIGHT|HIGH-REVERSED-9) SINGLE QUOTATION|SINGLE HIGH-REVERSED-9"
    r"|^(GRAVE|ACUTE) ACCENT|^(REVERSED )?PRIME|MODIFIER LETTER (PRIME|(TURNED|REVERSED) COMMA)"
)
_QUOTE_NAMES = re.compile(r"QUOTATION MARK|CORNER BRACKET")
_STOP_NAMES = re.compile(
    r"FULL STOP|COMMA|QUESTION MARK|EXCLAMATION MARK|COLON|ELLIPSIS"  # SEMICOLON too
)


def normalize(text: str) -> str:
    """`text` in lower case, typographic forms made plain, words parted by one space.

    By Unicode category, so that no list has to be complete; the same for references and hypotheses:

    - Compatibility forms (NFKC) become plain: full-width letters, ligatures, the ellipsis.
    - Format characters (Cf: zero-width spaces, soft hyphens, direction marks, a BOM) vanish.
    - White space of every kind, dashes (Pd, and the minus sign), full stops, commas, colons,
      question and exclamation marks of every script, and double quotation marks of every kind
      (Pi, Pf, " and 「」) part words.
    - Apostrophes and their look-alikes (’ ‘ ‛ ` ´ ′ ʼ ʻ) become ' between two letters or digits,
      and vanish at a word's edge, where an apostrophe cannot be told from a quotation mark: goin'
      is read as goin, dogs' as dogs, 'cause as cause. Two in a row are a quotation mark.

    Everything else stays: accents, digits, brackets, slashes. How to say them is not ours to guess
    (see `unknown_symbols`).
    """
    # Before NFKC too, which takes the accent ´ apart; and NFKC after lower(), which can undo it.
    plain = unicodedata.normalize("NFKC", text.translate(_PLAIN)).lower()
    plain = unicodedata.normalize("NFKC", plain).translate(_PLAIN)
    if "'" in plain:
        plain = re.sub("'+", _inner_only, plain)
    return " ".join(plain.split())


class _PlainForms(dict[int, str]):
    """What `str.translate` makes of each code point, looked up once."""

    def __missing__(self, code: int) -> str:
        form = self[code] = _plain_form(chr(code))
        return form


_PLAIN = _PlainForms()


def _plain_form(symbol: str) -> str:
    """`symbol`, or what it stands for: "'", a space, or nothing."""
    category, name = unicodedata.category(symbol), unicodedata.name(symbol, "")
    if category == "Cf":
        return ""
    if _APOSTROPHE_NAMES.search(name) and category in ("Po", "Pi", "Pf", "Sk", "Lm"):
        return "'"
    is_quote = category in ("Pi", "Pf") or (category[0] == "P" and _QUOTE_NAMES.search(name))
    is_stop = category == "Po" and _STOP_NAMES.search(name)
    return " " if is_quote or is_stop or category == "Pd" or symbol == "\N{MINUS SIGN}" else symbol


def _inner_only(run: re.Match[str]) -> str:
    """What stays of a run of apostrophes."""
    if len(run[0]) > 1:
        return " "
    around = run.string[run.start() - 1 : run.start()], run.string[run.end() : run.end() + 1]
    return "'" if all(c and unicodedata.category(c)[0] in "LMN" for c in around) else ""


def unknown_symbols(text: str) -> str:
    """The distinct symbols of normalised `text` that are outside the alphabet, sorted; "" if there
    are none.
    """
    return "".join(sorted(set(text) - _INDEX.keys()))


def count_unknown_symbols(texts: Iterable[str]) -> Counter[str]:
    """How often normalised `texts` hold each symbol that is outside the alphabet."""
    counts = Counter("".join(texts))
    return Counter({symbol: n for symbol, n in counts.items() if symbol not in _INDEX})


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
