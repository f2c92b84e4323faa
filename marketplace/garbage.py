"""When Python looks for cycles that nobody reaches: never through what start-up loaded.

A full look walks over all that start-up loaded, a quarter of a million objects: it held up every
fifteenth page for a fifth of a second. See https://docs.python.org/3/library/gc.html#gc.freeze.
"""

from __future__ import annotations

import gc

# Objects made between two looks at the youngest, and how many of those make a wider one: a page
# makes some tens of thousands, of which next to all are freed without a look.
THRESHOLDS = (50_000, 20, 50)


def spare_what_is_loaded() -> None:
    """Leave out of every later look what is there now. For once all is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
