"""Readers that take what they asked for a little at a time: HOST PORT TARGET COUNT BYTES_A_SECOND.

A process of its own, so that its turns are not those of whoever measures.
"""

from __future__ import annotations

import socket
import sys
import time

TURNS_A_SECOND = 10


def main() -> None:
    host, port, target, count, rate = sys.argv[1:]
    readers = []
    for _reader in range(int(count)):
        reader = socket.create_connection((host, int(port)), timeout=30)
        # Small, so that the server feels how slow we are.
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        reader.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        begun = reader.recv(12)
        assert begun == b"HTTP/1.1 200", begun
        readers.append(reader)
    print("reading", flush=True)
    while True:
        for reader in readers:
            if not reader.recv(int(rate) // TURNS_A_SECOND):
                return
        time.sleep(1 / TURNS_A_SECOND)


if __name__ == "__main__":
    main()
