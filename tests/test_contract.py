"""Seeds, latents, pixels and model descriptions."""

import hashlib
import json
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from models.contract import (
    METADATA_KEY,
    SEED_MAX,
    Z_DIM_MAX,
    ModelCard,
    ModelFileError,
    ModelSpec,
    SeedError,
    SeedlingError,
    consecutive_seeds,
    draw_seed,
    latent,
    latent_path,
    latents,
    lerp,
    resolve_seed,
    slerp,
    to_float,
    to_uint8,
)

# Golden values: if one of these fails, every published picture has changed. Never update them.
GOLDEN_LATENTS = {
    0: (
        [-0.36259031295776367, -0.4159747362136841, 0.9548649191856384, -0.9255024194717407],
        "50b17892b2c86518233e81c4eee76f43811b6fc005c92e6e709c80bd5716be92",
    ),
    1: (
        [-0.7801458835601807, 0.8401660323143005, -3.0132040977478027, -0.27232831716537476],
        "46ff36fdf9e39b46b6325d538ea533966098266850139a51a12f3faa49ae2ea8",
    ),
    42: (
        [-0.8884850740432739, 1.4608831405639648, -2.3710925579071045, -2.1278347969055176],
        "1259a47a8c2e4b1c4e002360c09c7caa5e378e342d4e7e083368f1c8881132b1",
    ),
    4294967296: (
        [-0.20099112391471863, -0.9466184377670288, 0.040022674947977066, -0.17314402759075165],
        "a75da8c9aff71eac6dc0dec6fa181c308a450177073a7312870b197568b0358b",
    ),
    18446744073709551615: (
        [0.5128996968269348, -1.2832183837890625, -0.21205128729343414, 0.68993079662323],
        "4a1a54ddbd09020aeac2e8ba321f69db8286a1f7588c55cf0016851ff0d5d8ab",
    ),
}


@pytest.mark.parametrize("seed", GOLDEN_LATENTS)
def test_latent_of_a_seed_never_changes(seed: int) -> None:
    first, digest = GOLDEN_LATENTS[seed]
    z = latent(seed)
    assert z.dtype == np.float32
    assert z.shape == (100,)
    np.testing.assert_array_equal(z[:4], np.array(first, np.float32))
    assert hashlib.sha256(z.astype("<f4").tobytes()).hexdigest() == digest


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("alice", 3159282601090220207),
        ("alice@example.com", 18414541688758211263),
        ("Zoë 🌱", 11740392220341585625),
        ("007", 7106483370208201996),
        ("-1", 1994368463219536380),
        ("18446744073709551616", 10027598559130361812),
        (" 42", 9065718717942439539),
    ],
)
def test_number_of_a_text_never_changes(text: str, number: int) -> None:
    assert resolve_seed(text) == number


@pytest.mark.parametrize("number", [0, 7, 42, 2**53 + 1, SEED_MAX])
def test_a_text_of_plain_decimal_is_that_integer(number: int) -> None:
    assert resolve_seed(str(number)) == resolve_seed(number) == number


@pytest.mark.parametrize("digits", ["٤٢", "４２"])
def test_digits_of_other_scripts_are_text(digits: str) -> None:
    assert resolve_seed(digits) != 42


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "got -1"),
        (SEED_MAX + 1, f"got {SEED_MAX + 1}"),
        ("", "got 0"),
        ("x" * 257, "got 257"),
        ("\ud800", "valid Unicode"),
        (1.0, "got float"),
        (True, "got bool"),
        (None, "got NoneType"),
        ([1], "got list"),
    ],
)
def test_a_bad_seed_is_refused_with_what_was_got(seed: object, message: str) -> None:
    with pytest.raises(SeedError, match=message):
        resolve_seed(seed)  # type: ignore[arg-type]


def test_seed_errors_have_the_common_root() -> None:
    assert issubclass(SeedError, SeedlingError)


def test_drawn_seeds_are_in_range_and_differ() -> None:
    drawn = {draw_seed() for _ in range(100)}
    assert len(drawn) == 100
    assert all(0 <= seed <= SEED_MAX for seed in drawn)


def test_consecutive_seeds_wrap() -> None:
    assert consecutive_seeds(SEED_MAX - 1, 4) == [SEED_MAX - 1, SEED_MAX, 0, 1]


def test_latents_do_not_depend_on_their_company() -> None:
    together = latents([5, 2**40, 5])
    np.testing.assert_array_equal(together[0], latent(5))
    np.testing.assert_array_equal(together[1], latent(2**40))
    np.testing.assert_array_equal(together[2], latent(5))


def test_every_bit_of_a_seed_matters() -> None:
    flipped = [latent(1 << bit).tobytes() for bit in range(64)]
    assert len({*flipped, latent(0).tobytes()}) == 65


def test_latents_ignore_and_leave_the_global_random_state() -> None:
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    first, state = latent(9), np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr] # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert latent(9).tobytes() == first.tobytes()
    np.random.seed(1)  # noqa: NPY002
    assert np.random.get_state()[1].tobytes() == state  # type: ignore[index, union-attr] # noqa: NPY002


def test_latents_are_standard_normal() -> None:
    z = latents(list(range(2000)))
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert abs(np.corrcoef(z[:-1].ravel(), z[1:].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("walk", [slerp, lerp])
def test_interpolation_is_exact_at_both_ends(walk: object) -> None:
    a, b = latent(1), latent(2)
    np.testing.assert_array_equal(walk(a, b, 0.0), a)  # type: ignore[operator]
    np.testing.assert_array_equal(walk(a, b, 1.0), b)  # type: ignore[operator]


def test_slerp_of_orthogonal_unit_vectors_is_their_circle() -> None:
    x, y = np.eye(2, dtype=np.float32)
    for t in (0.25, 0.5, 0.75):
        angle = t * np.pi / 2
        np.testing.assert_allclose(slerp(x, y, t), [np.cos(angle), np.sin(angle)], rtol=1e-6)


def test_slerp_keeps_the_length_that_lerp_loses() -> None:
    a, b = latent(1), latent(2)
    length = (np.linalg.norm(a) + np.linalg.norm(b)) / 2
    assert np.linalg.norm(slerp(a, b, 0.5)) == pytest.approx(length, rel=0.05)
    assert np.linalg.norm(lerp(a, b, 0.5)) < 0.85 * length


@pytest.mark.parametrize("factor", [1.0, -1.0, 0.0])
def test_slerp_of_parallel_latents_is_finite(factor: float) -> None:
    a = latent(1)
    assert np.isfinite(slerp(a, np.float32(factor) * a, 0.3)).all()


def test_latent_path_is_even_and_includes_both_ends() -> None:
    path = latent_path(latent(1), latent(2), 5)
    assert path.shape == (5, 100)
    assert path.dtype == np.float32
    np.testing.assert_array_equal(path[0], latent(1))
    np.testing.assert_array_equal(path[2], slerp(latent(1), latent(2), 0.5))
    np.testing.assert_array_equal(path[4], latent(2))


def test_pixels_survive_the_round_trip() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(to_float(pixels)), pixels)


def test_pixels_outside_the_range_are_clipped() -> None:
    np.testing.assert_array_equal(to_uint8(np.array([-9.0, -1.0, 0.0, 1.0, 9.0])), [0, 0, 128, 255, 255])


@pytest.mark.parametrize("side", [0, 4, 96, 1024])
def test_a_resolution_that_no_layers_reach_is_refused(side: int) -> None:
    with pytest.raises(SeedlingError, match=f"got {side}"):
        ModelSpec(img_resolution=side)


@pytest.mark.parametrize("value", [4.0, True, "4", None, [4]])
@pytest.mark.parametrize("name", ["img_resolution", "img_channels", "z_dim", "ngf", "ndf"])
def test_what_is_no_integer_is_no_size(name: str, value: object) -> None:
    with pytest.raises(SeedlingError, match=re.escape(f"{name} must be an integer, got {value!r}")):
        ModelSpec(**{name: value})  # type: ignore[arg-type]


def test_a_latent_has_a_longest_length() -> None:
    assert ModelSpec(z_dim=Z_DIM_MAX).z_dim == Z_DIM_MAX
    with pytest.raises(SeedlingError, match=f"at most {Z_DIM_MAX}, got 20000000"):
        ModelSpec(z_dim=20_000_000)


CARD = ModelCard(name="toy", spec=ModelSpec(), weights_sha256="ab", precision="float32", metrics={"fd": 1.5})


def test_a_card_survives_the_file() -> None:
    assert ModelCard.from_metadata(CARD.to_metadata()) == CARD


def test_a_card_from_before_arithmetics_computes_in_float32() -> None:
    fields = json.loads(CARD.to_metadata()[METADATA_KEY])
    assert fields.pop("arithmetic") == "float32"
    assert ModelCard.from_metadata({METADATA_KEY: json.dumps(fields)}) == CARD


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "no 'seedling' metadata"),
        ({METADATA_KEY: "{"}, "cannot be read"),
        ({METADATA_KEY: "[]"}, "cannot be read"),
        ({METADATA_KEY: '{"format": "seedling/9"}'}, "seedling/9"),
        ({METADATA_KEY: '{"format": "seedling/1", "name": "x"}'}, "cannot be read"),
        (
            {METADATA_KEY: '{"format": "seedling/1", "spec": {"z_dim": 4.0}}'},
            "z_dim must be an integer, got 4.0",
        ),
        ({METADATA_KEY: "[" * 100_000}, "cannot be read: RecursionError"),
    ],
)
def test_a_bad_card_is_refused(metadata: dict[str, str], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        ModelCard.from_metadata(metadata)


def test_the_contract_loads_nothing_but_numpy() -> None:
    code = "import sys, models.contract; print({'torch', 'onnx', 'onnxruntime', 'PIL'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
