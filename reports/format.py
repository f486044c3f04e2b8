"""Values as text for pages and tables, a missing one (None, NaN) as a dash; tables as Markdown and
LaTeX, with names escaped."""

import math
import re
from collections.abc import Callable, Iterable, Sequence

MISSING = "–"
UNKNOWN_INTERVAL = "interval unknown"
NBSP = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}",  # after the end of a row it would be a length
    "Δ": r"$\Delta$", MINUS: "$-$", MISSING: "--",
}  # fmt: skip


def is_missing(value: object) -> bool:
    """True of None and NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def text(value: object) -> str:
    """`value` as text, "" if it is missing."""
    return "" if is_missing(value) else str(value)


def percent(rate: float, digits: int = 1) -> str:
    """0.1234 as "12.3 %"."""
    return MISSING if is_missing(rate) else f"{100 * rate:.{digits}f}{NBSP}%"


def bare_percent(rate: float, digits: int = 1) -> str:
    """0.1234 as "12.3", where the column says %."""
    return MISSING if is_missing(rate) else f"{100 * rate:.{digits}f}"


def points(difference: float) -> str:
    """-0.0123 as "−1.2", where the column says percentage points; 0.0 has no sign.

    0.0004 is "+0.04": an interval that just leaves out zero must not look as if it ended there.
    """
    if is_missing(difference):
        return MISSING
    for digits in (1, 2, 3):
        shown = f"{100 * difference:+.{digits}f}"
        if float(shown):
            return shown.replace("-", MINUS)
    return "0.0"


def percent_range(low: float, high: float) -> str:
    """0.1 and 0.2 as "10.0 to 20.0", where the column says %."""
    return interval(low, high, bare_percent, UNKNOWN_INTERVAL)


def points_range(low: float, high: float) -> str:
    """-0.1 and 0.2 as "−10.0 to +20.0", where the column says percentage points."""
    return interval(low, high, points, UNKNOWN_INTERVAL)


def interval(
    low: float, high: float, shown: Callable[[float], str] = bare_percent, unknown: str = "unknown"
) -> str:
    """Both ends of an interval as `shown` gives them; `unknown` if one is not finite."""
    is_known = not (is_missing(low) or is_missing(high)) and math.isfinite(high - low)
    return f"{shown(low)} to {shown(high)}" if is_known else unknown


def decimal(value: float, digits: int) -> str:
    """-1.234 with 2 digits as "−1.23"."""
    return MISSING if is_missing(value) else f"{value:.{digits}f}".replace("-", MINUS)


def count(value: float) -> str:
    """1234.0 as "1,234"."""
    return MISSING if is_missing(value) else f"{value:,.0f}"


def short(value: float) -> str:
    """19818029 as "19.8 M": three significant figures."""
    if is_missing(value):
        return MISSING
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999,950 is 1.00 M, not 1000 k.
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            digits = max(0, 3 - len(f"{abs(scaled):.0f}"))
            return f"{scaled:.{digits}f}{NBSP}{letter}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """3725.0 as "1 h 02 min"."""
    if is_missing(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NBSP}s"
    if whole < 3600:
        return f"{whole // 60}{NBSP}min{NBSP}{whole % 60:02d}{NBSP}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}{NBSP}h{NBSP}{minutes % 60:02d}{NBSP}min"


def p_value(p: float, digits: int = 3) -> str:
    """0.00012 as "<0.001"; with four digits as "0.0001"."""
    least = 10.0**-digits
    return f"<{least:.{digits}f}" if not is_missing(p) and p < least else decimal(p, digits)


def setting(value: object) -> str:
    """A config value; floats with four significant figures."""
    if is_missing(value):
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plural(number: int, noun: str, several: str = "") -> str:
    """1, "seed" as "1 seed"; 2 as "2 seeds"."""
    return f"{number:,}{NBSP}{noun if number == 1 else several or noun + 's'}"


def some(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """At most so many of `names`, and the number of further ones."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def in_markdown(text: str) -> str:
    """`text` on one line, its Markdown symbols as text."""
    return re.sub(r"([\\|*`<>\[\]#_])", r"\\\1", one_line(text))


def in_latex(text: str) -> str:
    """`text` on one line, its LaTeX symbols as text."""
    return "".join(_LATEX.get(symbol, symbol) for symbol in one_line(text))


def one_line(text: str) -> str:
    """`text` with single spaces, without newlines."""
    return " ".join(text.split())


def markdown_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    shown: Callable[[str], str] = in_markdown,
) -> str:
    """A table of GitHub's Markdown: the first column aligned left, the others right; no newline at
    the end. `shown` makes Markdown of a cell."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    top, *body = (list(map(shown, line)) for line in (header, *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in (top, rule, *body))


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A `tabular`, ruled as booktabs does; no newline at the end."""
    top, *body = (" & ".join(map(in_latex, line)) + r" \\" for line in (header, *rows))
    begin = rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
    lines = (begin, r"\toprule", top, r"\midrule", *body, r"\bottomrule", r"\end{tabular}")
    return "\n".join(lines)
