"""A table that a creator uploads in the studio, as works of a collection."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from marketplace import imports
from marketplace.access import Caller
from marketplace.errors import InvalidInput
from marketplace.models import ImportJob

# Read while the browser waits: some 70,000 works. More go through the API.
FILE_LENGTH_MAX = 10 * 1024 * 1024
_NAME_LENGTH_MAX = 100


def bring_in(caller: Caller, collection_id: str, file: Any, *, dry_run: bool = False) -> ImportJob:
    """Import an uploaded CSV file. Raises NotFound, and InvalidInput for what is no such table."""
    if file.size > FILE_LENGTH_MAX:
        raise InvalidInput(
            _("The file is larger than %(max)s MiB. Bring it in through the API instead.")
            % {"max": FILE_LENGTH_MAX // 1024 // 1024},
            param="file",
        )
    name = "".join(one for one in file.name if one.isprintable())[:_NAME_LENGTH_MAX] or "works.csv"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "works.csv")
        with path.open("wb") as copy:
            for chunk in file.chunks():
                copy.write(chunk)
        source = imports.open_table(path, format="csv", name=name)
        try:
            return imports.run(caller, collection_id, source, dry_run=dry_run)
        except InvalidInput as error:
            # Whatever is wrong with the file, the form has one field for it.
            raise InvalidInput(error.detail, param="file") from None
