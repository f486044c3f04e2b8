"""Masking of passwords in all output: terminal, logs, records, tags, reports."""

import logging
import re

_PASSWORD = re.compile(r"(://[^\s:/@]*):\S*@")  # postgresql://user:PASSWORD@host
# https://host/path?api_key=SECRET
_SECRET = re.compile(r"([?&][^=&\s]*(?:password|passwd|token|secret|key)[^=&\s]*)=[^&\s]*", re.I)
_KEYWORD = re.compile(r"""((?<![?&])\bpassw(?:or)?d\s*=\s*)('[^']*'|"[^"]*"|[^\s'"&]+)""", re.I)
"""In a connection string of libpq: "host=… password=…"."""
_VARIABLE = re.compile(
    r"""(\b[A-Z][A-Z0-9_]*(?:PASSWORD|TOKEN|SECRET|SECRET_ACCESS_KEY)(?:\s*=\s*|:\s+))"""
    r"""('[^']*'|"[^"]*"|[^\s'"&]+)"""
)
"""An environment variable in a script or a compose file: PGPASSWORD=…"""


def mask(text: str) -> str:
    """`text` with ``***`` for the passwords of all addresses in it."""
    masked = _SECRET.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", text))
    return _VARIABLE.sub(r"\1***", _KEYWORD.sub(r"\1***", masked))


class MaskingFormatter(logging.Formatter):
    """A formatter of log lines, tracebacks included, without passwords."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, masked."""
        return mask(super().format(record))
