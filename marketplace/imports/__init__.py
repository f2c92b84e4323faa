"""Imports: many works into a collection, streaming, resumable, each refusal with its reason.

`engine` runs any Source; `folders`, `tables` and `parquet` are sources.
"""

from marketplace.imports.engine import (
    REASONS,
    Entry,
    Records,
    Rejected,
    Source,
    go_on,
    rejections,
    run,
)
from marketplace.imports.folders import Directory
from marketplace.imports.opening import FORMATS, open_table
from marketplace.imports.reports import rejections_csv
from marketplace.works import Record

__all__ = [
    "FORMATS",
    "REASONS",
    "Directory",
    "Entry",
    "Record",
    "Records",
    "Rejected",
    "Source",
    "go_on",
    "open_table",
    "rejections",
    "rejections_csv",
    "run",
]
