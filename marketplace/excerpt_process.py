"""Makes a thumbnail of a picture that nobody trusts, in a process that may fall over. No Django.

Reads the file from standard input, writes a PNG to standard output, and exits with 1 where there is
nothing to show: no picture, one of too many pixels, or one that takes longer than a second.
"""

from __future__ import annotations

import io
import resource
import sys

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
SIDE = 320
# A file of a few kilobytes may unpack to gigabytes: it says how large it is before.
PIXELS_MAX = 64_000_000
CPU_SECONDS = 1
MEMORY_MAX = 1 << 30


def thumbnail(data: bytes) -> bytes:
    """A PNG of at most SIDE × SIDE pixels, upright, without anything that the file says.

    Raises ValueError where the picture is too large, and whatever Pillow raises.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > PIXELS_MAX:
            raise ValueError(f"{image.width} × {image.height} pixels")
        # JPEG is unpacked no larger than it is needed.
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        image.thumbnail((SIDE, SIDE), reducing_gap=2.0)
        upright = ImageOps.exif_transpose(image)
        has_alpha = upright.mode in {"RGBA", "LA", "PA"} or "transparency" in upright.info
        made = upright.convert("RGBA" if has_alpha else "RGB")
    out = io.BytesIO()
    # Of the pixels alone: the copy knows no metadata.
    bare = Image.frombytes(made.mode, made.size, made.tobytes())
    bare.save(out, format="PNG")
    return out.getvalue()


def limit() -> None:
    """Bound what this process may still take: what is beyond ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    Image.init()
    limit()
    try:
        made = thumbnail(sys.stdin.buffer.read())
    except Exception:  # a parser's answer to hostile bytes: there is nothing to show
        return 1
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
