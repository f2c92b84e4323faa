"""Runs a program as an ordinary user, in a user namespace: PostgreSQL refuses to run as root.

    python -I -S marketplace/user_namespace.py PROGRAM ARGUMENT...

A program of its own, and not a `preexec_fn`: that would run Python between fork and exec of a
process that may have threads. Only the standard library, so that it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
# Any number but 0: the program sees itself, and the files that root owns, under this one.
INSIDE_ID = 65534
# Neither an exit status of PostgreSQL's tools nor one of the shell's.
EXIT_FORBIDDEN = 79


def main(argv: list[str]) -> int:
    """Enter the namespace and become the program; `EXIT_FORBIDDEN` when the kernel refuses."""
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        print(f"user namespace refused: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        return EXIT_FORBIDDEN
    try:
        # The kernel takes a group map from us only once setgroups is given up.
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{INSIDE_ID} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{INSIDE_ID} {group} 1", encoding="ascii")
    except OSError as error:
        print(f"user namespace refused: {error}", file=sys.stderr)
        return EXIT_FORBIDDEN
    os.execv(argv[0], argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
