"""Latents beside those of seeds: mixed, neighbouring, on the way over several keys."""

import hashlib

import numpy as np
import pytest

from models.contract import (
    EASINGS,
    blend,
    latent,
    latent_path,
    latents,
    lerp,
    neighbour,
    places_between,
    resolve_seed,
    slerp,
    truncate,
)

# Golden values, like those of the seeds: what these functions give is published too.
GOLDEN_PLACES = {
    "slerp": (
        lambda z: slerp(z[0], z[1], 0.25),
        [-1.1627384424209595, 0.9832704663276672, -2.726954936981201],
        "802e6ef76539d4a6683a0fff8d85853043426488016c5c28def5da3a0186b939",
    ),
    "lerp": (
        lambda z: lerp(z[0], z[1], 0.25),
        [-0.8909868001937866, 0.7781918048858643, -2.2518210411071777],
        "d0321abc81bd86a60415098a016b75e401bd15eff0e4752528f492681a60e2f1",
    ),
    "blend": (
        lambda z: blend(z, [1, 1, 1]),
        [-1.6697781085968018, 1.6704580783843994, -3.0899603366851807],
        "f65ccaceec3708b01bbd8e1f2a8e014a7017af6e9ff24fc90f586d9a89afb313",
    ),
    "weighted blend": (
        lambda z: blend(z, [2, 1, 0.5]),
        [-1.4088338613510132, 1.3106353282928467, -3.1334457397460938],
        "947da878ccdffc1412ab974c0a0b05ae2c1df2ee44ec865ea5206ff1ecefec1f",
    ),
    "neighbour": (
        lambda z: neighbour(z[0], 0.3),
        [-0.6165062785148621, 1.1324530839920044, -2.1863722801208496],
        "9bb5142b1827427d862df5908c892f6ff7bfd082368bc2626fe639cd337de506",
    ),
    "neighbour 7": (
        lambda z: neighbour(z[0], 0.3, 7),
        [-0.5110628604888916, 0.7992990016937256, -2.979867696762085],
        "be840e8c742c43f109a49792ec10bc34cf365ead8b610e91b20546fb004b7fe1",
    ),
    "truncate": (
        lambda z: truncate(z[0], 0.7),
        [-0.5461021065711975, 0.5881162285804749, -2.1092429161071777],
        "15f042146fd36a1b2aec9bf8453d5bb1ee2caccee99e4d3d7e630594d91db5f1",
    ),
}


@pytest.mark.parametrize("name", GOLDEN_PLACES)
def test_a_place_beside_seeds_never_changes(name: str) -> None:
    place, first, digest = GOLDEN_PLACES[name]
    z = place(latents([1, 2, 42]))
    assert (z.dtype, z.shape) == (np.float32, (100,))
    np.testing.assert_array_equal(z[:3], np.array(first, np.float32))
    assert hashlib.sha256(z.astype("<f4").tobytes()).hexdigest() == digest


def test_a_blend_is_the_weighted_sum_at_unit_variance() -> None:
    x, y = np.eye(2, dtype=np.float32)
    np.testing.assert_allclose(blend(np.stack([x, y]), [3, 4]), [0.6, 0.8], rtol=1e-7)
    many = blend(latents(list(range(16)), 100_000), [1.0] * 8 + [3.0] * 8)
    assert abs(many.std() - 1) < 0.01


def test_only_the_proportions_of_weights_matter() -> None:
    z = latents([1, 2])
    np.testing.assert_array_equal(blend(z, [1, 3]), blend(z, [1e300, 3e300]))
    np.testing.assert_array_equal(blend(z, [0, 5e-324]), z[1])


def test_a_neighbour_goes_in_the_direction_of_a_text_seed() -> None:
    z = latent(5)
    digest = hashlib.sha256(z.astype("<f4").tobytes()).digest()[:16].hex()
    noise = latent(resolve_seed(f"variant 3 of {digest}"))
    np.testing.assert_array_equal(neighbour(z, 1.0, 3), noise)
    np.testing.assert_allclose(neighbour(z, 0.6, 3), 0.8 * z + 0.6 * noise, rtol=1e-5, atol=1e-6)


def test_neighbours_are_as_far_as_the_radius_says() -> None:
    z = latent(5, 100_000)
    for radius in (0.1, 0.5, 1.0):
        near = neighbour(z, radius, 1)
        assert np.corrcoef(z, near)[0, 1] == pytest.approx((1 - radius**2) ** 0.5, abs=0.01)
        assert abs(near.std() - 1) < 0.01
    assert not np.array_equal(neighbour(z, 0.5, 1), neighbour(z, 0.5, 2))


def test_truncation_ends_at_the_mean_picture() -> None:
    z = latent(1)
    np.testing.assert_array_equal(truncate(z, 1.0), z)
    assert not truncate(z, 0.0).any()


@pytest.mark.parametrize("steps", [2, 3, 8, 50, 64])
def test_frames_between_two_keys_are_those_of_a_latent_path(steps: int) -> None:
    places = places_between(2, steps)
    frames = [slerp(latent(1), latent(2), t) for _, t in places]
    np.testing.assert_array_equal(frames, latent_path(latent(1), latent(2), steps))


@pytest.mark.parametrize("easing", EASINGS)
@pytest.mark.parametrize(("keys", "steps"), [(2, 2), (3, 8), (4, 4), (5, 64), (16, 17), (17, 64)])
def test_every_key_has_its_frame_and_the_path_goes_forwards(easing: str, keys: int, steps: int) -> None:
    places = places_between(keys, steps, easing)
    assert len(places) == steps
    travelled = [key + t for key, t in places]
    assert travelled == sorted(set(travelled))
    assert set(range(keys)) <= set(travelled)
    assert (travelled[0], travelled[-1]) == (0, keys - 1)


def test_keys_are_shown_where_the_time_comes_nearest() -> None:
    assert places_between(3, 5) == [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5), (1, 1.0)]
    uneven = places_between(3, 8)
    assert uneven[:5] == [(0, 0.0), (0, 0.25), (0, 0.5), (0, 0.75), (1, 0.0)]
    assert uneven[5:] == [(1, 1 / 3), (1, 2 / 3), (1, 1.0)]


@pytest.mark.parametrize(
    ("easing", "half"), [("linear", 0.5), ("ease-in", 0.25), ("ease-out", 0.75), ("ease-in-out", 0.5)]
)
def test_easings_change_the_speed_of_the_whole_path(easing: str, half: float) -> None:
    assert places_between(2, 9, easing)[4] == (0, half)
    first, last = (places_between(2, 9, easing)[k][1] for k in (1, 7))
    assert (first < 1 / 8) == (easing in {"ease-in", "ease-in-out"})
    assert (1 - last < 1 / 8) == (easing in {"ease-out", "ease-in-out"})
