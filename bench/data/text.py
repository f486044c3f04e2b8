"""The alphabet, and the normalisation of transcripts.

Texts hold the space, the apostrophe and a to z, and error rates are counted on normalised text; so
a digest of both is recorded with every run. With which symbols a network spells them is said in
bench.data.units.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable

from bench.core.config import digest

TEXT_VERSION = "2"
"""Raised when `normalize` gives another text for some input: results are then not comparable."""

BLANK = 0
"""CTC's symbol for no text."""
ALPHABET = " '" + string.ascii_lowercase
"""What texts are made of."""

_KNOWN = frozenset(ALPHABET)

_APOSTROPHE_NAMES = re.compile(
    r"APOSTROPHE|(LEFT|RIGHT|HIGH-REVERSED-9) SINGLE QUOTATION|SINGLE HIGH-REVERSED-9"
    r"|^(GRAVE|ACUTE) ACCENT|^(REVERSED )?PRIME|MODIFIER LETTER (PRIME|(TURNED|REVERSED) COMMA)"
)
_QUOTE_NAMES = re.compile(r"QUOTATION MARK|CORNER BRACKET")
_STOP_NAMES = re.compile(
    r"FULL STOP|COMMA|QUESTION MARK|EXCLAMATION MARK|COLON|ELLIPSIS"  # SEMICOLON too
)


def normalize(text: str) -> str:
    """`text` in lower case, with plain typographic forms and one space between words.

    Rules go by Unicode category, so that no list has to be complete, and are the same for
    references and hypotheses:

    - Compatibility forms (NFKC) become plain: full-width letters, ligatures, the ellipsis.
    - Format characters (Cf: zero-width spaces, soft hyphens, direction marks, a BOM) are removed.
    - White space of every kind, dashes (Pd, and the minus sign), full stops, commas, colons,
      question and exclamation marks of every script, and double quotation marks of every kind
      (Pi, Pf, " and 「」) separate words.
    - Apostrophes and similar characters (’ ‘ ‛ ` ´ ′ ʼ ʻ) become ' between two letters or digits.
      They are removed at a word's edge, where they cannot be distinguished from quotation marks:
      goin' becomes goin, dogs' dogs, 'cause cause. Two in a row count as a quotation mark.

    All other characters stay: accents, digits, brackets, slashes. Their pronunciation is ambiguous,
    so they are reported, not replaced (see `unknown_symbols`).
    """
    # _PLAIN is applied before NFKC too, which would decompose the accent ´ into a space and a
    # combining mark; NFKC is applied after lower() too, whose result may not be in NFKC.
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
    """The replacement of `symbol`: "'", a space, nothing, or the symbol itself."""
    category, name = unicodedata.category(symbol), unicodedata.name(symbol, "")
    if category == "Cf":
        return ""
    if _APOSTROPHE_NAMES.search(name) and category in ("Po", "Pi", "Pf", "Sk", "Lm"):
        return "'"
    is_quote = category in ("Pi", "Pf") or (category[0] == "P" and _QUOTE_NAMES.search(name))
    is_stop = category == "Po" and _STOP_NAMES.search(name)
    return " " if is_quote or is_stop or category == "Pd" or symbol == "\N{MINUS SIGN}" else symbol


def _inner_only(run: re.Match[str]) -> str:
    """The replacement of a run of apostrophes."""
    if len(run[0]) > 1:
        return " "
    around = run.string[run.start() - 1 : run.start()], run.string[run.end() : run.end() + 1]
    return "'" if all(c and unicodedata.category(c)[0] in "LMN" for c in around) else ""


def unknown_symbols(text: str) -> str:
    """The distinct symbols of normalised `text` that are outside the alphabet, sorted; "" if there
    are none.
    """
    return "".join(sorted(set(text) - _KNOWN))


def count_unknown_symbols(texts: Iterable[str]) -> Counter[str]:
    """How often normalised `texts` hold each symbol that is outside the alphabet."""
    # Joined first: one pass over one text, in C, in place of an update per text.
    counts = Counter("".join(texts))
    return Counter({symbol: n for symbol, n in counts.items() if symbol not in _KNOWN})


def text_digest() -> str:
    """Digest of alphabet and normalisation; results are comparable only if it is the same."""
    return digest({"alphabet": ALPHABET, "version": TEXT_VERSION})
