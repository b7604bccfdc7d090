"""Figures of quality against closed forms, against torch-fidelity's, and their intervals against draws."""

import statistics

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from models.contract import SeedlingError
from training.intervals import GROUPS, Figure, with_intervals
from training.quality import (
    BLOCK,
    NEIGHBOURS,
    RealFeatures,
    compare,
    diversity,
    fd,
    kd,
    memorisation,
    neighbourhood,
    novelty,
)


def draw(count: int, seed: int, dimensions: int = 6) -> Tensor:
    """Features with dependent dimensions, as a network's are: (count, dimensions) float32."""
    mix = torch.randn(dimensions, dimensions, generator=torch.Generator().manual_seed(99))
    return (torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) @ mix).relu()


def test_the_frechet_distance_of_equal_covariances_is_the_squared_distance_of_the_means() -> None:
    real = draw(300, 0)
    moved = real + torch.tensor([3.0, 4.0, 12.0, 0.0, 0.0, 0.0])
    assert fd(moved, RealFeatures(real)) == pytest.approx(3**2 + 4**2 + 12**2, rel=1e-5)
    assert fd(real, RealFeatures(real)) == pytest.approx(0, abs=1e-6)


def test_the_frechet_distance_of_a_wider_set_is_the_difference_of_the_deviations() -> None:
    real = draw(300, 0)
    centred = real - real.mean(0)
    # tr(S + 4 S - 2 · 2 S) = tr(S).
    wanted = torch.cov(centred.T.double()).trace().item()
    assert fd(2 * centred, RealFeatures(centred)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("count", [10, 200], ids=["fewer than dimensions", "more"])
def test_the_frechet_distance_is_torch_fidelity_s(count: int) -> None:
    generated, real = draw(count, 1, 40) * 1.1, draw(150, 2, 40)
    moments = [fid_features_to_statistics(features.double()) for features in (generated, real)]
    wanted = fid_statistics_to_metric(*moments, verbose=False)["frechet_inception_distance"]
    assert fd(generated, RealFeatures(real)) == pytest.approx(wanted, rel=1e-6)


def test_the_kernel_distance_of_two_points_is_their_kernels() -> None:
    a, b = torch.tensor([[1.0, 2.0]]).expand(8, 2), torch.tensor([[3.0, 0.0]]).expand(9, 2)
    # k(a, a) = (5/2 + 1)³, k(b, b) = (9/2 + 1)³, k(a, b) = (3/2 + 1)³.
    assert kd(a, RealFeatures(b)) == pytest.approx(3.5**3 + 5.5**3 - 2 * 2.5**3, rel=1e-5)


def test_the_kernel_distance_is_torch_fidelity_s_of_all_pictures() -> None:
    generated, real = draw(200, 1) * 1.2, draw(200, 2)
    wanted = kid_features_to_metric(generated, real, kid_subsets=1, kid_subset_size=200, verbose=False)
    found = kd(generated, RealFeatures(real))
    assert found == pytest.approx(wanted["kernel_inception_distance_mean"], rel=1e-4)


def test_the_kernel_distance_is_what_torch_fidelity_s_mean_over_subsets_comes_to() -> None:
    generated, real = draw(150, 1) * 1.2, draw(250, 2)
    subsets = kid_features_to_metric(generated, real, kid_subsets=2000, kid_subset_size=50, verbose=False)
    mean, deviation = subsets["kernel_inception_distance_mean"], subsets["kernel_inception_distance_std"]
    assert kd(generated, RealFeatures(real)) == pytest.approx(mean, abs=4 * deviation / 2000**0.5)


def test_the_kernel_distance_of_one_distribution_is_nothing_on_average() -> None:
    found = [kd(draw(100, 2 * k), RealFeatures(draw(100, 2 * k + 1))) for k in range(100)]
    assert statistics.mean(found) == pytest.approx(0, abs=3 * statistics.stdev(found) / 100**0.5)
    assert max(found) < kd(draw(100, 0) + 1, RealFeatures(draw(100, 1)))


def test_sets_that_are_far_apart_share_nothing() -> None:
    assert neighbourhood(draw(60, 0), RealFeatures(draw(50, 1) + 1000)) == {
        "precision": 0,
        "recall": 0,
        "density": 0,
        "coverage": 0,
    }


def test_a_set_covers_itself() -> None:
    real = draw(60, 0)
    found = neighbourhood(real, RealFeatures(real))
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)


def test_neighbours_are_counted_as_on_a_line() -> None:
    real = torch.arange(11.0)[:, None]  # every one of the balls holds the point 5
    generated = torch.tensor([5.0] * 10 + [100.0] * 10)[:, None]  # balls of radius 0
    assert neighbourhood(generated, RealFeatures(real)) == pytest.approx(
        {"precision": 1 / 2, "recall": 1 / 11, "density": 11 / NEIGHBOURS / 2, "coverage": 1}
    )


def test_coverage_counts_the_balls_that_hold_something() -> None:
    real = torch.cat([draw(30, 0), draw(10, 1) + 1000])
    generated = torch.cat([real[:30], draw(BLOCK, 2) - 1000])
    assert neighbourhood(generated, RealFeatures(real))["coverage"] == 30 / 40


def test_precision_and_recall_are_torch_fidelity_s() -> None:
    generated, real = draw(BLOCK + 100, 1) * 1.5, draw(300, 2)
    wanted = prc_features_to_metric(generated, real, prc_neighborhood=NEIGHBOURS, verbose=False)
    found = neighbourhood(generated, RealFeatures(real))
    assert 0.1 < found["precision"] < 0.99
    assert found["precision"] == pytest.approx(wanted["precision"], abs=1e-6)
    assert found["recall"] == pytest.approx(wanted["recall"], abs=1e-6)


def test_diversity_is_a_share_of_the_real_pictures_own() -> None:
    real = draw(BLOCK + 200, 0)
    reference = RealFeatures(real)
    assert reference.spread == pytest.approx(torch.pdist(real).mean().item(), rel=1e-4)
    assert diversity(real * 0.5, reference) == pytest.approx(0.5, rel=1e-4)
    assert diversity(real[:1].expand(50, -1), reference) == pytest.approx(0, abs=1e-3)


def test_memorisation_tells_copies_from_pictures_of_one_s_own() -> None:
    real = draw(500, 0)
    reference = RealFeatures(real, held_out=draw(400, 1))
    assert memorisation(real[:200], reference) == pytest.approx(0, abs=0.01)
    assert memorisation(draw(400, 2), reference) == pytest.approx(1, abs=0.1)
    assert memorisation(draw(400, 2) + 100, reference) > 10


def test_novelty_tells_copies_without_held_out_pictures() -> None:
    real = draw(400, 1)
    reference = RealFeatures(real)
    assert novelty(real[:200], reference) == pytest.approx(0, abs=0.01)
    assert novelty(draw(400, 2), reference) == pytest.approx(1, abs=0.1)


def test_memorisation_is_measured_only_where_pictures_were_held_out() -> None:
    real, generated = draw(50, 0), draw(40, 1)
    assert "memorisation" not in compare(generated, RealFeatures(real))
    assert compare(generated, RealFeatures(real, draw(30, 2)))["memorisation"] > 0
    with pytest.raises(SeedlingError, match="memorisation needs held-out pictures, got none"):
        memorisation(generated, RealFeatures(real))


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(SeedlingError, match="need more than 5 real pictures to compare, got 5"):
        RealFeatures(draw(NEIGHBOURS, 0))
    with pytest.raises(SeedlingError, match="the real pictures are all the same"):
        diversity(draw(20, 0), RealFeatures(torch.ones(20, 6)))
    with pytest.raises(SeedlingError, match="an interval needs at least 20 pictures, got 19"):
        with_intervals(lambda _: {}, draw(2 * GROUPS - 1, 0))


def test_the_interval_of_a_mean_is_student_s() -> None:
    features = draw(200, 0)
    found = with_intervals(lambda part: {"mean": part[:, 0].mean().item()}, features)["mean"]
    means = [features[group::GROUPS, 0].mean().item() for group in range(GROUPS)]
    half = 2.262 * statistics.stdev(means) / GROUPS**0.5
    assert found.value == pytest.approx(features[:, 0].mean().item())
    assert found.high - found.value == pytest.approx(half, rel=1e-3)
    assert found.value - found.low == pytest.approx(half, rel=1e-3)


def test_nineteen_of_twenty_intervals_hold_the_figure_s_mean() -> None:
    real = RealFeatures(draw(200, 0), held_out=draw(100, 1))
    runs = [with_intervals(lambda part: compare(part, real), draw(200, seed)) for seed in range(2, 42)]
    for name in runs[0]:
        figures: list[Figure] = [run[name] for run in runs]
        mean = statistics.mean(figure.value for figure in figures)
        held = sum(figure.low <= mean <= figure.high for figure in figures) / len(figures)
        assert held >= 0.85, name
        width = statistics.mean(figure.high - figure.low for figure in figures) / 2 / 2.262
        assert width < 2 * statistics.stdev(figure.value for figure in figures), name
