"""The order of pictures."""

import torch

from training.sampler import Sampler

CPU = torch.device("cpu")


def test_an_epoch_shows_every_picture_once_in_an_order_of_its_own() -> None:
    sampler = Sampler(32, 0, CPU)
    first, second = (sampler.picks(start, 32).tolist() for start in (0, 32))
    assert sorted(first) == sorted(second) == list(range(32))
    assert first != second
    assert first != Sampler(32, 1, CPU).picks(0, 32).tolist()


def test_picks_depend_on_their_places_alone() -> None:
    whole = Sampler(10, 7, CPU).picks(0, 100)
    sampler = Sampler(10, 7, CPU)
    for first, number in ((93, 7), (0, 25), (8, 4), (25, 1), (9, 91)):
        assert torch.equal(sampler.picks(first, number), whole[first : first + number])


def test_a_batch_may_be_larger_than_the_set() -> None:
    picks = Sampler(4, 0, CPU).picks(2, 9)
    assert picks.shape == (9,)
    assert sorted(picks[2:6].tolist()) == [0, 1, 2, 3]
