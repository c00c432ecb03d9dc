"""A peer that is gone without a word: its kernel takes nothing any more, and says nothing."""

from __future__ import annotations

import ctypes
import socket
import struct

SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_DROP_ALL = struct.pack("=HBBI", 6, 0, 0, 0)  # BPF_RET | BPF_K: keep 0 bytes of each segment


def vanish(sock: socket.socket) -> None:
    """From now on what comes to ``sock`` is dropped before the kernel looks at it.

    So nothing is acknowledged, as if the machine had lost its power. What ``sock`` itself sends
    still goes out: send nothing.
    """
    program = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    # struct sock_fprog: how many instructions, and where they are.
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program))
    )
