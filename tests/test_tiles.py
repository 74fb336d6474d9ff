"""In double precision, so that no two pixels tie in a max-pooling by rounding alone."""

import copy

import pytest
import torch
from torch import nn

from course_lib.energy import squared_norm
from course_lib.images import grey
from course_lib.taps import Taps
from course_lib.tiles import Tiled, _spans


@pytest.fixture(scope="module")
def networks(coursenet, squeezenet):
    return {"coursenet": copy.deepcopy(coursenet).double(), "squeezenet": copy.deepcopy(squeezenet).double()}


def noise(*size, seed=0):
    return torch.rand(*size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(function, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), x)[0]


CASES = [("coursenet", "conv1"), ("coursenet", "pool2"), ("coursenet", "relu3"), ("coursenet", "pool5")]
CASES += [("squeezenet", f"features.{i}") for i in (0, 2, 5, 9, 12)]  # 2, 5 and later lie behind pools with ceil_mode


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), CASES)
@pytest.mark.parametrize(("size", "side"), [((131, 97), 32), ((160, 223), 51), ((96, 250), 96)])
def test_tiles_give_the_values_and_the_gradient_of_the_whole(name, layer, size, side, networks):
    net, x = networks[name], noise(1, 3, *size)
    whole, tiled = Taps(net, layer), Tiled(net, layer, side=side)
    assert len(tiled.grid(x)) * len(tiled.grid(x)[0]) > 1
    a = whole(x)[layer]
    assert tiled(x)[layer].shape == a.shape
    assert torch.allclose(tiled(x)[layer], a, atol=1e-10)
    weights = noise(*a.shape, seed=1) - 0.5
    theirs = gradient(lambda y: (whole(y)[layer] * weights).sum(), x)
    assert torch.allclose(gradient(lambda y: (tiled(y)[layer] * weights).sum(), x), theirs, atol=1e-10)


@pytest.mark.parametrize(("name", "layer"), [("coursenet", "relu3"), ("squeezenet", "features.9")])
def test_an_energy_adds_up_over_tiles(name, layer, networks):
    net, x, energy = networks[name], noise(2, 3, 117, 150), squared_norm(layer)
    whole, tiled = Taps(net, layer), Tiled(net, layer, side=40).total(energy)

    def expected(y):
        return energy(whole(y), y)

    assert torch.allclose(tiled(x), expected(x), rtol=1e-10)
    assert torch.allclose(gradient(lambda y: 3 * tiled(y), x), 3 * gradient(expected, x), rtol=1e-8, atol=1e-10)


def test_tiles_of_several_layers_are_those_of_each(networks):
    net, x = networks["coursenet"], noise(1, 3, 131, 97)
    both = Tiled(net, "conv1", "relu3", side=32)
    for layer, a in Taps(net, "conv1", "relu3")(x).items():
        assert torch.allclose(both(x)[layer], a, atol=1e-10)
    assert both.with_layers("relu3") is both
    more = both.with_layers("conv1", "pool2")
    assert more.layers == ("conv1", "relu3", "pool2") and more.side == 32
    for several in (both.sum, both.grid):
        with pytest.raises(ValueError, match="of one layer, got 2: 'conv1', 'relu3'"):
            several(x)
    with pytest.raises(ValueError, match=r"squared_norm\('conv1', 'relu3'\) is of one layer, got 2"):
        both.total(squared_norm("conv1", "relu3"))


def test_an_image_of_one_side_runs_whole_and_one_pixel_more_in_tiles(networks):
    tiled = Tiled(networks["coursenet"], "conv1", side=64)
    assert tiled.whole(noise(1, 3, 64, 64)) and not tiled.whole(noise(1, 3, 64, 65))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_any_chain_of_windows(seed):
    """Kernels, strides, padding and ceil_mode at random; sides that do not fit."""
    drawn = torch.Generator().manual_seed(seed)

    def pick(low, high):
        return int(torch.randint(low, high + 1, (), generator=drawn))

    parts, channels = [], 3
    for _ in range(pick(1, 4)):
        kernel = pick(1, 5)
        padding = pick(0, kernel // 2)
        if pick(0, 1):
            parts.append(nn.MaxPool2d(kernel, pick(1, 3), padding, ceil_mode=bool(pick(0, 1))))
        else:
            parts.append(nn.Conv2d(channels, 4, kernel, pick(1, 3), padding))
            channels = 4
    net = nn.Sequential(*parts).double().requires_grad_(False)
    x, last = noise(1, 3, pick(130, 199), pick(130, 199), seed=seed), str(len(parts) - 1)
    net.image_size = 224
    tiled = Tiled(net, last, side=pick(8, 40))
    assert torch.allclose(tiled(x)[last], net(x), atol=1e-10)
    squares = tiled.total(squared_norm(last))
    assert torch.allclose(gradient(squares, x), gradient(lambda y: net(y).square().sum(), x), atol=1e-8)


def test_spans_keep_every_unit_once_and_stay_short():
    spans = list(_spans(4000, 768, 223, 16, -100))
    assert spans[0][0].start == 0 and spans[-1][0].stop == 4000
    assert all(pixels.start % 16 == 0 and pixels.stop - pixels.start < 768 + 223 + 3 * 16 for pixels, _ in spans)


def test_a_small_image_runs_whole_at_any_layer(coursenet):
    x = grey(96, 96)
    assert torch.equal(Tiled(coursenet, "fc6")(x)["fc6"], Taps(coursenet, "fc6")(x)["fc6"])


@pytest.mark.parametrize("layer", ["avgpool", "fc6"])
def test_a_layer_that_sees_the_whole_image_is_named(layer, coursenet):
    with pytest.raises(ValueError, match=f"layer '{layer}' looks at the whole image"):
        Tiled(coursenet, layer, side=64)(grey(96, 96))


def test_bad_input(coursenet):
    with pytest.raises(ValueError, match="no layer 'conv9'"):
        Tiled(coursenet, "conv9")
    with pytest.raises(ValueError, match="side must be at least 1 pixel, got 0"):
        Tiled(coursenet, "conv1", side=0)
