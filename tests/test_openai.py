"""OpenAI's own client talks to the service."""

import base64
import io
from collections.abc import Iterator

import httpx
import openai
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def client(service: httpx.Client) -> Iterator[openai.OpenAI]:
    """OpenAI's client of the service."""
    with openai.OpenAI(base_url=f"{service.base_url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_a_prompt_is_a_seed(client: openai.OpenAI, service: httpx.Client) -> None:
    answer = client.images.generate(prompt="Zoë 🌱", response_format="b64_json")
    assert answer.data is not None
    [image] = answer.data
    assert image.b64_json is not None
    assert base64.b64decode(image.b64_json) == service.get("/images/Zoë 🌱.png").content


def test_an_address_is_for_ever(client: openai.OpenAI, service: httpx.Client) -> None:
    answer = client.images.generate(prompt="41", n=2, size="256x256", output_format="webp")
    assert answer.data is not None
    for seed, image in zip((41, 42), answer.data, strict=True):
        assert image.url is not None
        shown = service.get(image.url)
        assert "immutable" in shown.headers["cache-control"]
        assert shown.content == service.get(f"/images/{seed}.webp?size=256").content
        with Image.open(io.BytesIO(shown.content)) as img:
            assert (img.format, img.size) == ("WEBP", (256, 256))


def test_models_are_listed(client: openai.OpenAI) -> None:
    [model] = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("toy", "model", "seedling")
    assert client.models.retrieve("toy").created == model.created > 1_500_000_000


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"prompt": ""}, ("prompt", "got 0")),
        ({"prompt": "x" * 257}, ("prompt", "256", "got 257")),
        ({"prompt": "a", "size": "256x128"}, ("size", "square", "got '256x128'")),
        ({"prompt": "a", "size": "2048x2048"}, ("size", "1024x1024", "got '2048x2048'")),
        ({"prompt": "a", "n": 65}, ("n must be at most 64", "got 65")),
        ({"prompt": "a", "output_format": "bmp"}, ("output_format", "got 'bmp'")),
    ],
)
def test_a_bad_request_is_one_to_the_client(
    client: openai.OpenAI, wanted: dict[str, object], words: tuple[str, ...]
) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.images.generate(**wanted)  # type: ignore[call-overload]
    for word in words:
        assert word in str(error.value)


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'toy'"):
        client.images.generate(prompt="a", model="dall-e-3")
    with pytest.raises(openai.NotFoundError, match="'toy'"):
        client.models.retrieve("dall-e-3")


def test_no_time_is_a_rate_limit_to_the_client(client: openai.OpenAI) -> None:
    slow = client.with_options(default_headers={"X-Timeout-Ms": "1"})
    with pytest.raises(openai.RateLimitError) as error:
        slow.images.generate(prompt="a", n=64, response_format="b64_json")
    assert int(error.value.response.headers["retry-after"]) >= 1
