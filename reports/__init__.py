"""The report of a study: a `ReportInput` of typed values and tables in, one HTML file out."""

from reports.build import build
from reports.index import SavedGroup, SavedRow, StudyRow, build_index
from reports.input import ConfigValue, ReportInput
from reports.sections.verdict import cautions

__all__ = [
    "ConfigValue",
    "ReportInput",
    "SavedGroup",
    "SavedRow",
    "StudyRow",
    "build",
    "build_index",
    "cautions",
]
