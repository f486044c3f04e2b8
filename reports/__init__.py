"""The page a study is told in: plain tables in, one self-contained HTML file out."""

from reports.build import build
from reports.input import ReportInput

__all__ = ["ReportInput", "build"]
