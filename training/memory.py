"""Has the C library (glibc) keep large blocks that are freed, for the next step wants them again.

By itself it hands them back to the system, which clears each page anew when it is touched: of a step on a CPU
that was a twentieth to an eighth. Elsewhere this does nothing.
"""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""glibc's numbers, from malloc.h."""


def keep_large_blocks() -> None:
    """Makes freed blocks of any size stay in the process, for as long as it lives."""
    with contextlib.suppress(OSError, AttributeError):
        c_library = ctypes.CDLL(None)
        c_library.mallopt(M_MMAP_MAX, 0)  # a block of its own cannot be kept
        c_library.mallopt(M_TRIM_THRESHOLD, -1)
