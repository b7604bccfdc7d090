"""Random numbers: each process's are its rows of what one process would draw."""

import pytest
import torch

from training.distributed import World
from training.draws import Draws

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["normal", "uniform", "integers"])
def test_shares_make_up_the_batch(kind: str) -> None:
    def draw(draws: Draws, n: int) -> torch.Tensor:
        draws.begin(3)
        draws.uniform(n)
        return draws.integers(9, n, 2) if kind == "integers" else getattr(draws, kind)(n, 2)

    shares = [draw(Draws(CPU, World(rank, 3)), 2) for rank in range(3)]
    assert torch.equal(torch.cat(shares), draw(Draws(CPU), 6))


def test_a_stream_begins_anew() -> None:
    draws = Draws(CPU)
    draws.begin(5)
    first = draws.normal(4)
    draws.normal(4)
    draws.renew()
    assert torch.equal(draws.normal(4), first)
