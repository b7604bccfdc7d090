"""What a cache has: sums in closed form, and Che's approximation beside a cache that is really run."""

from collections import OrderedDict

import numpy as np
import pytest

from bench.popularity import first_hits, lru_hits, top_hits, zipf


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0, 1.3])
@pytest.mark.parametrize("names", [10, 1000, 1001, 300_000])
def test_blocks_of_names_are_as_good_as_names(names: int, exponent: float) -> None:
    weights = np.arange(1.0, names + 1) ** -exponent
    popularity = zipf(names, exponent)
    assert popularity.names.sum() == names
    assert popularity.names @ popularity.shares == pytest.approx(1)
    assert popularity.shares[0] == pytest.approx(1 / weights.sum(), rel=1e-5)
    for pictures in (1, names // 7 + 1, names):
        assert top_hits(popularity, pictures) == pytest.approx(
            weights[:pictures].sum() / weights.sum(), rel=1e-4
        )


def test_a_thousand_million_names_have_their_harmonic_number() -> None:
    harmonic = np.log(1e9) + np.euler_gamma + 0.5e-9
    assert zipf(10**9, 1).shares[0] == pytest.approx(1 / harmonic, rel=1e-6)
    assert len(zipf(10**9, 1).names) < 10_000


def test_a_cache_of_equal_names_has_its_share() -> None:
    assert lru_hits(zipf(5000, 0), 1000) == pytest.approx(0.2)
    assert top_hits(zipf(5000, 0), 1000) == pytest.approx(0.2)


def test_a_cache_of_all_names_has_them_all() -> None:
    assert lru_hits(zipf(50, 1), 50) == 1


@pytest.mark.parametrize(("exponent", "pictures"), [(0.7, 200), (1.0, 100), (1.0, 1000), (1.2, 30)])
def test_che_s_approximation_is_what_a_cache_does(exponent: float, pictures: int) -> None:
    names, requests = 5000, 150_000
    weights = np.arange(1.0, names + 1) ** -exponent
    asked = np.random.default_rng(0).choice(names, requests, p=weights / weights.sum())
    kept: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for k, name in enumerate(asked.tolist()):
        if name in kept:
            kept.move_to_end(name)
            hits += k >= requests // 5
            continue
        kept[name] = None
        if len(kept) > pictures:
            kept.popitem(last=False)
    popularity = zipf(names, exponent)
    assert hits / (requests * 0.8) == pytest.approx(lru_hits(popularity, pictures), abs=0.006)
    assert lru_hits(popularity, pictures) < top_hits(popularity, pictures)


def test_a_cache_that_is_empty_at_first_misses_each_name_once() -> None:
    names, requests = 3000, 20_000
    weights = np.arange(1.0, names + 1) ** -1.0
    asked = np.random.default_rng(1).choice(names, requests, p=weights / weights.sum())
    hits = 1 - len(set(asked.tolist())) / requests
    assert first_hits(zipf(names, 1), requests) == pytest.approx(hits, abs=0.005)
