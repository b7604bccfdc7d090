"""That a step finds the memory of the last one still there."""

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from training.memory import keep_large_blocks

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def use():
    torch.zeros(MEGABYTES << 18)

MEGABYTES = 256  # larger than any size that glibc learns by itself to keep
use()
before = faults()
use()
given_back = faults() - before
keep_large_blocks()
use()
before = faults()
use()
print(given_back, faults() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_a_large_block_is_cleared_by_the_system_once_only() -> None:
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120)
    given_back, kept = map(int, done.stdout.split())
    assert given_back > 100  # pages, of which a huge one counts as one
    assert kept < given_back / 10
