"""SHA-256 in tables."""

from __future__ import annotations

from django.db import models
from django.db.models import Func

# A digest is SHA-256: 32 bytes, never text.
DIGEST_LENGTH = 32


class Sha256(Func):
    """SHA-256 of a text's UTF-8 bytes, computed by PostgreSQL: lets a constraint prove a hash."""

    template = "sha256(convert_to(%(expressions)s, 'UTF8'))"
    output_field = models.BinaryField()
