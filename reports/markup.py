"""Templates with autoescape on (whatever comes from data is text, never markup), and pages."""

import os
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import format as formats
from reports.palette import COLOURS, STATES

FOLDER = Path(__file__).resolve().parent

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    show.__name__: show
    for show in (
        formats.percent, formats.bare_percent, formats.percent_range, formats.points,
        formats.points_range, formats.decimal, formats.count, formats.short, formats.duration,
        formats.p_value, formats.setting, formats.plural,
    )
}  # fmt: skip
MAX_OPEN = 15
"""Tables of pairs with more rows than these fold away."""

_ENVIRONMENT.globals |= {
    "STATES": STATES,
    "NUM_COLOURS": len(COLOURS),
    "MAX_OPEN": MAX_OPEN,
}


def render(template: str, **values: object) -> str:
    """`template`, a path below reports/, with `values`; a name it lacks is an error."""
    return _ENVIRONMENT.get_template(template).render(**values)


def write_page(page: str, path: Path) -> Path:
    """Write `page` to `path` atomically, folders included.

    Raises:
        OSError: with the page's own name, not that of the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Neither a concurrent reader nor an interrupt may leave half a page.
    written = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        written.write_text(page, encoding="utf-8", newline="\n")
        written.replace(path)
    except OSError as error:
        written.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path
