from functools import partial

import pytest
import torch
import torch.nn.functional as F

from course_lib import data, models, recipes
from course_lib.energy import activation, squared_norm
from course_lib.images import grey
from course_lib.preimage import Interrupted
from course_lib.taps import Taps


@pytest.fixture(scope="module")
def cat():
    return data.photograph("chelsea", 96)


def dream(net, x, layer="relu3", **options):
    return recipes.deepdream(net, x, layer, **{"steps": 3, "jitter": 4} | options)


def strength(net, x, layer="relu3"):
    return Taps(net, layer)(x)[layer].flatten(1).square().sum(1)


# ---------------------------------------------------------------- the two statements of the lecture


@pytest.mark.parametrize(
    ("name", "layer"), [("coursenet", "conv4"), ("coursenet", "fc7"), ("squeezenet", "features.9")]
)
def test_setting_the_gradient_to_the_activation_is_ascending_half_the_squared_norm(name, layer, cat, request):
    """Google's code writes `dst.diff[:] = dst.data` and goes back; no energy occurs in it."""
    net = request.getfixturevalue(name)
    x = cat.clone().requires_grad_()
    f = Taps(net, layer)(x)[layer]
    f.backward(gradient=f.detach())
    y = cat.clone().requires_grad_()
    (0.5 * squared_norm(layer)(Taps(net, layer)(y), y)).backward()
    assert torch.allclose(x.grad, y.grad, rtol=1e-4, atol=1e-6 * float(x.grad.abs().max()))


def test_one_octave_of_one_step_by_hand(coursenet, cat):
    """x + step g / mean |g|, g what comes back when the activation is sent back as its own gradient."""
    x = cat.clone().requires_grad_()
    f = Taps(coursenet, "relu3")(x)["relu3"]
    f.backward(gradient=f.detach())
    expected = (cat + 1.5 / 255 * x.grad / x.grad.abs().mean()).clamp(0, 1)
    found = dream(coursenet, cat, octaves=1, steps=1, jitter=0).image
    assert torch.allclose(found, expected, atol=1e-4)


def test_detail_is_carried_up_over_the_resized_original(coursenet, cat):
    """Two octaves written out, after the notebook that Google published."""

    def climb(x):
        x = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(Taps(coursenet, "relu3")(x)["relu3"].square().sum(), x)
        return (x + 1.5 / 255 * g / g.abs().mean()).detach().clamp(0, 1)

    small = F.interpolate(cat, size=(48, 48), mode="bilinear", antialias=True)
    detail = climb(small) - small
    expected = climb((cat + F.interpolate(detail, size=(96, 96), mode="bilinear")).clamp(0, 1))
    found = dream(coursenet, cat, octaves=2, zoom=2.0, steps=1, jitter=0).image
    assert torch.allclose(found, expected, atol=1e-3)


# ---------------------------------------------------------------- behaviour


def test_a_dream_excites_its_layer_and_keeps_the_image(coursenet, cat):
    found = dream(coursenet, cat, steps=10)
    assert strength(coursenet, found.image) > 4 * strength(coursenet, cat)
    assert found.image.shape == cat.shape and found.image.min() >= 0 and found.image.max() <= 1
    both = torch.stack([F.avg_pool2d(x, 8).flatten() for x in (cat, found.image)])
    assert torch.corrcoef(both)[0, 1] > 0.8
    (values,) = found.energy.values()
    assert len(values) == 40 and values[-1] < values[30]


def test_images_of_a_batch_dream_alone_and_one_seed_is_one_dream(coursenet, scenes):
    x = scenes.images[:2]
    together = dream(coursenet, x, octaves=2).image
    assert torch.allclose(together[1:], dream(coursenet, x[1:], octaves=2).image, atol=1e-3)
    assert torch.equal(together, dream(coursenet, x, octaves=2).image)
    assert not torch.equal(together, dream(coursenet, x, octaves=2, seed=1).image)


def test_every_size_dreams_and_small_octaves_are_left_out(squeezenet):
    x = data.photograph("coffee", 64)[..., :50, :]
    found = dream(squeezenet, x, "features.5", octaves=8, steps=1)
    assert found.image.shape == x.shape
    assert 2 <= len(found.total) < 8


def test_tiles_change_nothing(coursenet, cat, monkeypatch):
    x = F.interpolate(cat, size=(210, 170), mode="bilinear")
    whole = dream(coursenet, x, octaves=1, steps=2).image
    tiled = recipes.dream.Tiled
    monkeypatch.setattr(recipes.dream, "Tiled", partial(tiled, side=64))
    differences = (dream(coursenet, x, octaves=1, steps=2).image - whole).abs()
    assert differences.mean() < 1e-4 and differences.quantile(0.999) < 2e-2


def test_a_regularizer_over_another_layer_has_the_same_values_in_tiles(coursenet, cat, monkeypatch):
    x = F.interpolate(cat, size=(150, 170), mode="bilinear")
    regularizer = 0.5 * squared_norm("conv1", "relu2")
    whole = dream(coursenet, x, octaves=1, steps=1, regularizer=regularizer)
    alone = dream(coursenet, x, octaves=1, steps=1)
    monkeypatch.setattr(recipes.dream, "Tiled", partial(recipes.dream.Tiled, side=64))
    tiled = dream(coursenet, x, octaves=1, steps=1, regularizer=regularizer)
    assert list(tiled.energy) == ["squared_norm('relu3')", "squared_norm('conv1', 'relu2')"]
    for name, values in whole.energy.items():
        assert tiled.energy[name] == pytest.approx(values, rel=1e-4)
    assert (tiled.image - whole.image).abs().mean() < 1e-4 < (alone.image - whole.image).abs().mean()


def test_ctrl_c_holds_a_dream_of_full_size_and_its_energies(coursenet, cat, monkeypatch):
    calls = []

    def stop(*arguments, **options):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    original = recipes.dream.Pixels.forward
    monkeypatch.setattr(recipes.dream.Pixels, "forward", stop)
    with pytest.raises(Interrupted) as stopped:
        dream(coursenet, cat)
    found = stopped.value.found
    assert found.image.shape == cat.shape and not torch.equal(found.image, cat)
    assert len(found.total) == 4  # three of the first copy, which read the result once more, and one of the second


# ---------------------------------------------------------------- guide


def test_a_guide_is_what_the_dream_moves_towards(coursenet, scenes):
    x, guides = scenes.images[:1], scenes.images[3:5]
    taps = Taps(coursenet, "relu3")

    def likeness(y, guide):
        f, g = (taps(p)["relu3"][0].flatten(1) for p in (y, guide))  # (c, positions)
        return float((f.T @ g).amax(1).sum() / f.norm() / g.norm())

    first, second = (dream(coursenet, x, guide=guide[None], octaves=1, steps=10).image for guide in guides)
    assert likeness(first, guides[:1]) > likeness(second, guides[:1])
    assert likeness(second, guides[1:]) > likeness(first, guides[1:])


def test_the_gradient_of_a_guided_dream_is_the_nearest_feature(coursenet, scenes):
    """Position by position: argmax over the guide of the inner product, sent back as the gradient."""
    x, guide = scenes.images[:1], scenes.images[1:2]
    y = x.clone().requires_grad_()
    taps = Taps(coursenet, "pool2")
    f, g = taps(y)["pool2"], taps(guide)["pool2"][0].flatten(1)
    back = torch.zeros_like(f)
    for row in range(f.shape[2]):
        for column in range(f.shape[3]):
            back[0, :, row, column] = g[:, (f[0, :, row, column] @ g).argmax()]
    f.backward(gradient=back.detach())
    expected = (x + 1.5 / 255 * y.grad / y.grad.abs().mean()).clamp(0, 1)
    found = dream(coursenet, x, "pool2", guide=guide, octaves=1, steps=1, jitter=0).image
    assert torch.allclose(found, expected, atol=1e-3)


def test_a_frame_of_a_walk_is_a_dream_of_the_middle_of_the_one_before_with_the_next_seed(coursenet, cat):
    options = {"octaves": 1, "steps": 1, "jitter": 8}
    first, second = recipes.dream_zoom(coursenet, cat, "relu3", frames=2, closer=1.0, seed=4, **options)
    assert torch.equal(first, dream(coursenet, cat, seed=4, **options).image)
    assert torch.equal(second, dream(coursenet, first, seed=5, **options).image)
    assert not torch.equal(second, dream(coursenet, first, seed=4, **options).image)


def test_a_walk_into_the_dream(coursenet, cat):
    frames = list(recipes.dream_zoom(coursenet, cat, "relu3", frames=3, octaves=1, steps=1))
    assert len(frames) == 3 and all(frame.shape == cat.shape for frame in frames)
    still = list(recipes.dream_zoom(coursenet, cat, "relu3", frames=2, octaves=1, steps=1, step=0))
    side = round(96 / 1.05)
    top = (96 - side) // 2
    middle = F.interpolate(cat[..., top : top + side, top : top + side], size=(96, 96), mode="bilinear")
    assert torch.allclose(still[1], middle, atol=1e-3)


# ---------------------------------------------------------------- caricature


def test_a_caricature_exaggerates_what_the_layer_noticed(coursenet, scenes):
    x = scenes.images[:2]
    found = recipes.caricature(coursenet, x, "relu4", steps=20)
    taps = Taps(coursenet, "relu4")
    before, after = (taps(y)["relu4"].flatten(1) for y in (x, found.image))
    assert ((before * after).sum(1) > 2 * before.square().sum(1)).all()
    assert (F.cosine_similarity(before, after) > 0.6).all()
    assert found.energy["inner_product"][0] == pytest.approx(-2, abs=0.4)  # one an image, before the jitter
    assert found.image.min() >= 0 and found.image.max() <= 1


def test_images_of_a_batch_are_caricatured_alone(coursenet, scenes):
    x = scenes.images[:2]
    options = {"steps": 5, "jitter": 0}
    together = recipes.caricature(coursenet, x, "relu4", **options).image
    alone = recipes.caricature(coursenet, x[1:], "relu4", **options).image
    assert (together[1:] - alone).abs().mean() < 1e-3


def test_a_caricature_aims_at_what_is_positive_alone(coursenet, cat):
    """<f(y), max(f(x), 0)> / |max(f(x), 0)|^2 at y = x, of a layer with values of both signs; no shift."""
    a = Taps(coursenet, "conv4")(cat)["conv4"]
    assert (a < 0).float().mean() > 0.2
    found = recipes.caricature(coursenet, cat, "conv4", steps=1, jitter=0)
    assert found.energy["inner_product"] == pytest.approx([-1.0], abs=1e-4)  # <a, max(a, 0)> is |max(a, 0)|^2
    aim = a.clamp(min=0)
    y = cat.clone().requires_grad_()
    (g,) = torch.autograd.grad((Taps(coursenet, "conv4")(y)["conv4"] * aim).sum() / aim.square().sum(), y)
    still = recipes.caricature(
        coursenet, cat, "conv4", steps=1, jitter=0, smoothness=0, optimizer=partial(torch.optim.SGD, lr=100.0)
    )
    assert torch.allclose(still.image, (cat + 100 * g).clamp(0, 1), atol=1e-4)


def test_a_regularizer_of_a_caricature_stands_beside_its_smoothness(coursenet, cat):
    regularizer = -0.5 * activation("conv1", 2)
    found = recipes.caricature(coursenet, cat, "relu4", steps=3, regularizer=regularizer)
    assert list(found.energy) == ["inner_product", "total_variation", "activation('conv1', 2)"]
    assert not torch.equal(found.image, recipes.caricature(coursenet, cat, "relu4", steps=3).image)


def test_smoothness_is_the_weight_of_roughness(coursenet, scenes):
    def roughness(smoothness):
        found = recipes.caricature(coursenet, scenes.images[:2], "relu4", smoothness=smoothness, steps=20)
        return float(found.image.diff(dim=3).square().sum())

    assert roughness(1.0) < roughness(0.1) < roughness(0.0)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"octaves": 0}, "octaves must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"zoom": 1.0}, "zoom must be above 1, got 1.0"),
        ({"jitter": -1}, "jitter.s number of pixels must be at least 0, got -1"),
        ({"guide": torch.rand(2, 3, 96, 96)}, "one guide is"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"regularizer": squared_norm("conv7")}, r"no layer 'conv7' .*for the term squared_norm\('conv7'\)"),
        ({"layer": "relu9"}, "no layer 'relu9'"),
    ],
)
def test_bad_input_is_named(options, message, coursenet, cat):
    with pytest.raises(ValueError, match=message):
        dream(coursenet, cat, **options)


def test_too_small_and_too_large_are_named(squeezenet, coursenet):
    with pytest.raises(ValueError, match="needs images of at least"):
        dream(squeezenet, grey(8, 8), "features.5")
    with pytest.raises(ValueError, match="layer 'fc6' looks at the whole image"):
        dream(coursenet, grey(800, 40), "fc6", octaves=1)


def test_a_caricature_of_nothing_is_refused(coursenet, cat):
    blind = models.load("coursenet")
    blind.get_submodule("conv5").bias.fill_(-1e6)
    with pytest.raises(ValueError, match="does not activate layer 'relu5'"):
        recipes.caricature(blind, cat, "relu5")
    with pytest.raises(ValueError, match="closer must be at least 1"):
        recipes.dream_zoom(blind, cat, "relu3", closer=0.9)
    with pytest.raises(ValueError, match="layer 'fc7' has no positions"):
        dream(coursenet, cat, "fc7", guide=cat)
