"""Tables as Markdown and LaTeX, with names escaped."""

import re
from collections.abc import Sequence

from reports.format import MINUS, MISSING

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}",  # after the end of a row it would be a length
    "Δ": r"$\Delta$", MINUS: "$-$", MISSING: "--",
}  # fmt: skip


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column aligned left, the others right; no newline at the end."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(in_markdown, line)) + " |" for line in lines)


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A `tabular`, ruled as booktabs does; no newline at the end."""
    top, *body = (" & ".join(map(in_latex, line)) + r" \\" for line in (header, *rows))
    begin = rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
    lines = (begin, r"\toprule", top, r"\midrule", *body, r"\bottomrule", r"\end{tabular}")
    return "\n".join(lines)


def in_markdown(text: str) -> str:
    """`text` on one line, its Markdown symbols as text."""
    return re.sub(r"([\\|*`<_])", r"\\\1", _one_line(text))


def in_latex(text: str) -> str:
    """`text` on one line, its LaTeX symbols as text."""
    return "".join(_LATEX.get(symbol, symbol) for symbol in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
