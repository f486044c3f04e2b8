"""How far MLflow's copy of a run has come."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from bench.core.config import from_dict
from bench.core.files import write_json
from bench.runs.layout import read_json
from bench.runs.mlflow.uri import display_uri
from bench.runs.state import read_summary

FILE = "sent.json"


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """What the store at `uri` has.

    A kill between sending and saving means only that a part is sent again.
    """

    uri: str
    """As shown, without a password. Another store has nothing of the run yet."""
    opened: str = ""
    """`opened_at` of the newest opening that was sent."""
    metrics_bytes: int = 0
    """Length of the part of metrics.jsonl that was sent; ends at the end of a line."""
    closed: str = ""
    """`ended_at` of the newest end that was sent completely."""

    @classmethod
    def load(cls, folder: Path, uri: str) -> "Cursor":
        """The cursor of the run in `folder` for the store at `uri`.

        Raises:
            UserError: its file is damaged.
        """
        saved = read_json(folder / FILE) or {}
        shown = display_uri(uri)
        return from_dict(cls, saved) if saved.get("uri") == shown else cls(uri=shown)

    def save(self, folder: Path) -> None:
        """Replace the cursor in `folder`."""
        write_json(folder / FILE, dataclasses.asdict(self))


def is_behind(folder: Path, uri: str) -> bool:
    """Whether the run in `folder` has ended and the store at `uri` does not know all of it."""
    summary = read_summary(folder)
    return summary is not None and Cursor.load(folder, uri).closed != summary["ended_at"]
