"""Templates with autoescape on: whatever comes from data is text, never markup."""

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
    "percent": formats.percent,
    "bare_percent": formats.bare_percent,
    "points": formats.points,
    "decimal": formats.decimal,
    "count": formats.count,
    "short": formats.short,
    "duration": formats.duration,
    "p_value": formats.p_value,
    "setting": formats.setting,
    "plural": formats.plural,
}
_ENVIRONMENT.globals |= {"STATES": STATES, "NUM_COLOURS": len(COLOURS)}


def render(template: str, **values: object) -> str:
    """`template`, a path below reports/, with `values`; a name it lacks is an error."""
    return _ENVIRONMENT.get_template(template).render(**values)
