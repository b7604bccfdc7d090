"""The networks against the specification, layer by layer."""

import pytest
import torch
from torch import Tensor, nn

from models.contract import ModelSpec
from models.dcgan import Discriminator, Generator

SPEC = ModelSpec()


def shapes(net: nn.Module, kind: type[nn.Module], x: Tensor) -> list[tuple[int, ...]]:
    """Returns the output shapes, without the batch, of every layer of a kind."""
    found: list[tuple[int, ...]] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, y: found.append(tuple(y.shape[1:])))
        for layer in net.modules()
        if isinstance(layer, kind)
    ]
    net(x)
    for hook in hooks:
        hook.remove()
    return found


def geometry(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[int, int, int, int, int]:
    return (
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size[0],
        layer.stride[0],
        int(layer.padding[0]),
    )


def test_generator_layers_are_the_specified_ones() -> None:
    convolutions = [m for m in Generator(SPEC).layers if isinstance(m, nn.ConvTranspose2d)]
    assert [geometry(layer) for layer in convolutions] == [
        (100, 1024, 4, 1, 0),
        (1024, 512, 4, 2, 1),
        (512, 256, 4, 2, 1),
        (256, 128, 4, 2, 1),
        (128, 64, 4, 2, 1),
        (64, 3, 4, 2, 1),
    ]
    assert all(layer.bias is None for layer in convolutions)


def test_generator_normalises_and_activates_after_each_but_the_last() -> None:
    kinds = [type(m) for m in Generator(SPEC).layers]
    assert kinds == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU] * 5 + [nn.ConvTranspose2d, nn.Tanh]


def test_generator_doubles_the_side_from_4_to_128() -> None:
    found = shapes(Generator(SPEC), nn.ConvTranspose2d, torch.randn(2, 100))
    assert found == [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (64, 64, 64), (3, 128, 128)]


def test_generator_has_the_specified_number_of_parameters() -> None:
    assert sum(p.numel() for p in Generator(SPEC).parameters() if p.requires_grad) == 12_786_560


def test_generator_takes_latents_flat_or_as_maps() -> None:
    net, z = Generator(SPEC).eval(), torch.randn(2, 100)
    torch.testing.assert_close(net(z), net(z.view(2, 100, 1, 1)))


def test_generator_output_is_in_range() -> None:
    img = Generator(SPEC)(100 * torch.randn(2, 100))
    assert img.dtype == torch.float32
    assert img.abs().max() <= 1


def test_discriminator_layers_are_the_specified_ones() -> None:
    convolutions = [m for m in Discriminator(SPEC).layers if isinstance(m, nn.Conv2d)]
    assert [geometry(layer) for layer in convolutions] == [
        (3, 64, 4, 2, 1),
        (64, 128, 4, 2, 1),
        (128, 256, 4, 2, 1),
        (256, 512, 4, 2, 1),
        (512, 1024, 4, 2, 1),
        (1024, 2048, 4, 2, 1),
        (2048, 1, 1, 1, 0),
    ]


def test_discriminator_normalises_after_each_but_the_first() -> None:
    kinds = [type(m) for m in Discriminator(SPEC).layers]
    assert kinds == [
        *(nn.Conv2d, nn.LeakyReLU),
        *(nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU) * 5,
        *(nn.AdaptiveAvgPool2d, nn.Conv2d, nn.Flatten),
    ]
    slopes = {m.negative_slope for m in Discriminator(SPEC).layers if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2}


def test_discriminator_halves_the_side_from_64_to_2() -> None:
    found = shapes(Discriminator(SPEC), nn.Conv2d, torch.randn(2, 3, 128, 128))
    assert [side for _, side, _ in found] == [64, 32, 16, 8, 4, 2, 1]


def test_discriminator_gives_one_logit_a_picture_and_its_sigmoid_on_request() -> None:
    net, img = Discriminator(SPEC).eval(), torch.randn(3, 3, 128, 128)
    logits = net(img)
    assert logits.shape == (3, 1)
    torch.testing.assert_close(net.probability(img), torch.sigmoid(logits))


def test_64_is_128_without_the_generator_s_last_and_the_discriminator_s_first_layer() -> None:
    small = ModelSpec(img_resolution=64)
    g = [geometry(m) for m in Generator(small).layers if isinstance(m, nn.ConvTranspose2d)]
    assert g == [
        (100, 1024, 4, 1, 0),
        (1024, 512, 4, 2, 1),
        (512, 256, 4, 2, 1),
        (256, 128, 4, 2, 1),
        (128, 3, 4, 2, 1),
    ]
    d = [geometry(m) for m in Discriminator(small).layers if isinstance(m, nn.Conv2d)]
    assert d[0] == (3, 128, 4, 2, 1)
    assert d[1:] == [geometry(m) for m in Discriminator(SPEC).layers if isinstance(m, nn.Conv2d)][2:]
    assert Generator(small)(torch.randn(1, 100)).shape == (1, 3, 64, 64)
    assert Discriminator(small).eval()(torch.randn(1, 3, 64, 64)).shape == (1, 1)


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_weights_start_as_specified(norm: str) -> None:
    torch.manual_seed(0)
    for net in (Generator(SPEC), Discriminator(SPEC, norm)):
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.weight.numel() > 10_000:
                parametrized = hasattr(layer, "parametrizations")
                weight = layer.parametrizations.weight.original if parametrized else layer.weight
                assert weight.std().item() == pytest.approx(0.02, rel=0.05)
                assert weight.mean().item() == pytest.approx(0, abs=5e-4)
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.weight.mean().item() == pytest.approx(1, abs=0.01)
                assert not layer.bias.any()


def test_spectral_norm_bounds_every_layer() -> None:
    net = Discriminator(ModelSpec(img_resolution=16, ndf=4), "spectral")
    for _ in range(50):  # each training pass takes one step of the power iteration
        net(torch.randn(2, 3, 16, 16))
    for layer in net.eval().layers:
        if isinstance(layer, nn.Conv2d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="'layer'"):
        Discriminator(SPEC, "layer")


def test_an_orthogonal_start_shrinks_no_direction_under_spectral_norm() -> None:
    spec = ModelSpec(img_resolution=16, ndf=4)
    d = Discriminator(spec, "spectral", init="orthogonal", gain=1.5).eval()
    for layer in d.convolutions():
        values = torch.linalg.svdvals(layer.weight.flatten(1))
        torch.testing.assert_close(values, torch.full_like(values, 1.5), rtol=1e-3, atol=0)


def test_a_gain_makes_the_discriminator_speak_up() -> None:
    spec = ModelSpec(img_resolution=16, ndf=4)
    img = torch.rand(32, 3, 16, 16) * 2 - 1
    spreads = []
    for gain in (1.0, 2.0):
        torch.manual_seed(0)
        spreads.append(Discriminator(spec, "spectral", gain=gain).eval()(img).std().item())
    layers = len(Discriminator(spec).convolutions())
    assert spreads[1] == pytest.approx(2**layers * spreads[0], rel=0.01)  # biases start at 0


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match="'normal' or 'orthogonal', got 'zero'"):
        Discriminator(SPEC, init="zero")
