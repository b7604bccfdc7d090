"""Keeps the C library (glibc) from holding on to memory that is no longer used; elsewhere it does nothing."""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's numbers, from malloc.h."""

LARGE_BYTES = 1 << 20
"""Blocks from this size on, such as weights and sheets, go back to the system as soon as they are freed.
glibc would raise the size by itself to that of the largest block it has seen."""


def return_large_blocks() -> None:
    """Makes large blocks leave the process when they are freed."""
    with contextlib.suppress(OSError, AttributeError):
        c_library = ctypes.CDLL(None)
        c_library.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        c_library.mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)


def give_back_memory() -> None:
    """Hands what is free back to the system now."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
