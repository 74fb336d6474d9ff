"""recipes.synthesize_texture and recipes.transfer_style."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import data, models, recipes, world
from course_lib.energy import Energy, distance, gram_distance, gram_matrix, squared_norm, total_variation
from course_lib.images import Unbounded, resize
from course_lib.preimage import Interrupted
from course_lib.recipes import style as module
from course_lib.taps import Taps

FEW = partial(torch.optim.LBFGS, max_iter=8, line_search_fn="strong_wolfe")
LAYERS = ("relu1", "pool1", "relu2")


@pytest.fixture(scope="module")
def untrained():
    return models.load("coursenet", weights="random", seed=0)


@pytest.fixture(scope="module")
def stripes():
    """A texture whose stripes lie across, 8 pixels apart, in two colours."""
    wave = (torch.arange(64) * torch.pi / 4).sin().expand(64, 64).T * 0.5 + 0.5
    return torch.stack([0.2 + 0.6 * wave, 0.5 * wave, 0.9 - 0.5 * wave])[None]


@pytest.fixture(scope="module")
def cat():
    return data.photograph("chelsea", 64)


def texture(net, exemplar, layers=LAYERS, **options):
    return recipes.synthesize_texture(net, exemplar, layers, **{"steps": 2} | options)


def styled(net, content, style, **options):
    options = {"steps": 2, "optimizer": FEW, "coarsest": None} | options
    return recipes.transfer_style(net, content, style, "relu3", LAYERS, **options)


# ---------------------------------------------------------------- the formulas


def test_gram_distance_is_pytorchs_tutorial_up_to_its_constant(generator):
    """The tutorial: G / (n c h w), then the mean square over c^2 entries, which is 4 / c^2 of Gatys' energy."""
    a, b = (torch.rand(1, 6, 5, 7, generator=generator) for _ in range(2))

    def tutorial(x):
        n, c, h, w = x.shape
        flat = x.view(n * c, h * w)
        return flat.mm(flat.t()).div(n * c * h * w)

    theirs = F.mse_loss(tutorial(a), tutorial(b))
    assert torch.isclose(gram_distance({"x": b})({"x": a}, a), theirs * 6**2 / 4)


def test_a_guided_gram_matrix_is_that_of_the_positions_it_is_guided_to(generator):
    a = torch.rand(1, 4, 6, 6, generator=generator)
    where = torch.zeros(1, 1, 12, 12)
    where[..., :6, :] = 1  # the upper half, at the image's size
    assert torch.allclose(gram_matrix(a, where[..., ::2, ::2]), gram_matrix(a[..., :3, :]))
    target = {"x": torch.rand(1, 4, 9, 5, generator=generator)}
    guided = gram_distance(target, where)({"x": a}, a)
    assert torch.isclose(guided, gram_distance(target)({"x": a[..., :3, :]}, a))
    with pytest.raises(ValueError, match="at least 0"):
        gram_distance(target, where - 0.5)


def test_correlations_may_stand_in_for_a_map(generator):
    a, b = torch.rand(1, 4, 6, 6, generator=generator), torch.rand(1, 4, 3, 9, generator=generator)
    whole = gram_distance({"x": b})({"x": a}, a)
    assert torch.isclose(gram_distance({"x": gram_matrix(b) / 27})({"x": gram_matrix(a) / 36}, a), whole)


# ---------------------------------------------------------------- texture


@pytest.mark.slow
def test_a_texture_has_the_gram_matrices_of_its_exemplar_and_not_its_pixels(untrained, stripes):
    found = texture(untrained, stripes, steps=4)
    assert found.image.shape == stripes.shape
    assert found.total[-1] < 0.05 * found.total[0]
    taps = Taps(untrained, *LAYERS)
    for layer, goal in taps(stripes).items():
        error = (gram_matrix(taps(found.image)[layer]) - gram_matrix(goal)).norm() / gram_matrix(goal).norm()
        assert error < 0.1, layer
    assert (found.image - stripes).abs().mean() > 0.05


def test_the_direction_of_stripes_is_kept(untrained, stripes):
    made = F.avg_pool2d(texture(untrained, stripes, steps=4).image, 2)  # conv1 steps by 2: it is blind to finer noise
    across, along = (made.diff(dim=dim).square().mean() for dim in (2, 3))
    assert across > 4 * along


@pytest.mark.slow
@pytest.mark.parametrize("size", [(40, 120), (96, 64), (33, 47)])
def test_any_size_and_aspect(size, untrained, stripes):
    assert texture(untrained, stripes, size=size, steps=1).image.shape == (1, 3, *size)


def test_scaled_correlations_do_not_depend_on_the_scale_of_a_network(untrained, stripes):
    loud = copy.deepcopy(untrained)
    with torch.no_grad():
        loud.get_submodule("conv2").weight *= 16  # a power of two, so that rounding stays the same
    for scaled in (True, False):
        once, again = (texture(net, stripes, scaled=scaled, steps=1, optimizer=FEW).image for net in (untrained, loud))
        assert torch.allclose(once, again, atol=1e-4) == scaled


def test_weights_choose_among_layers(untrained, stripes):
    only = texture(untrained, stripes, ["relu1"], steps=1).image
    assert torch.equal(texture(untrained, stripes, "relu1", steps=1).image, only)
    assert torch.allclose(texture(untrained, stripes, {"relu1": 1.0, "relu2": 0.0}, steps=1).image, only, atol=1e-5)
    assert not torch.allclose(texture(untrained, stripes, {"relu1": 1.0, "relu2": 1.0}, steps=1).image, only, atol=1e-2)


@pytest.mark.slow
def test_large_structure_needs_the_small_copies(untrained):
    """Stripes 32 pixels apart are beyond what the first layers see at full size."""
    wave = (torch.arange(128) * torch.pi / 16).sin().expand(128, 128) * 0.4 + 0.5
    wide = wave.expand(1, 3, 128, 128).contiguous()

    def strength(made):  # of the wave with 4 periods across, among all that goes across
        power = torch.fft.rfft(made.mean((0, 1, 2)) - made.mean()).abs().square()
        return float(power[4] / power[1:].sum())

    fine, coarse = (texture(untrained, wide, coarsest=c, steps=2).image for c in (None, 16))
    assert strength(coarse) > 0.8 > strength(fine)


@pytest.mark.slow
def test_the_histogram_is_matched_where_asked(untrained, cat, stripes):
    for exemplar in (cat, stripes):  # of many values, and of five
        plain, matched = (texture(untrained, exemplar, histogram=h, steps=1).image for h in (False, True))
        assert torch.equal(matched.flatten(2).sort().values, exemplar.flatten(2).sort().values)
        assert (matched - plain).abs().mean() < 0.1  # by rank: dark stays dark
    assert texture(untrained, cat, size=(40, 30), histogram=True, steps=1).image.shape == (1, 3, 40, 30)


@pytest.mark.slow
def test_random_filters_of_several_sizes_make_textures(stripes):
    filters = models.RandomFilters(sizes=(3, 11), maps=32)
    found = texture(filters, stripes, filters.layers, steps=3)
    assert found.total[-1] < 0.01 * found.total[0]


def test_one_seed_gives_one_image(untrained, stripes):
    once, again, other = (texture(untrained, stripes, seed=seed, steps=1).image for seed in (1, 1, 2))
    assert torch.equal(once, again) and not torch.allclose(once, other, atol=0.05)


# ---------------------------------------------------------------- style


def test_content_stays_and_style_comes(untrained, cat, stripes):
    found = styled(untrained, cat, stripes, steps=4).image
    taps = Taps(untrained, *LAYERS, "relu3")
    before, after, goal = taps(cat), taps(found), taps(stripes)
    assert distance({"relu3": before["relu3"]})(after, found) < distance({"relu3": before["relu3"]})(goal, cat)
    for layer in LAYERS:
        style = gram_distance({layer: goal[layer]})
        assert style(after, found) < 0.3 * style(before, cat), layer


def test_more_weight_is_more_style(untrained, cat, stripes):
    taps = Taps(untrained, *LAYERS)
    style = gram_distance(taps(stripes))
    found = [styled(untrained, cat, stripes, weight=w).image for w in (0, 0.1, 10)]
    assert (found[0] - cat).abs().max() < 0.01  # content alone, from the content
    errors = [float(style(taps(x), x)) for x in found]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_lbfgs_never_ends_black_or_nan(seed, untrained):
    """Whatever the images, the weight, and the scale of the network's activations."""
    scenes = world.draw(2, seed=seed, size=48).images
    drawn = torch.Generator().manual_seed(seed)
    weight = 10 ** (6 * float(torch.rand((), generator=drawn)) - 2)  # 0.01 to 10000
    net = copy.deepcopy(untrained)
    with torch.no_grad():
        net.get_submodule("conv1").weight *= 10 ** (4 * float(torch.rand((), generator=drawn)) - 2)
    found = styled(net, scenes[:1], scenes[1:], weight=weight, steps=2, optimizer=module.LBFGS, seed=seed)
    assert torch.isfinite(found.image).all()
    assert found.total[-1] <= found.total[0]
    assert 0.05 < found.image.mean() < 0.95 and found.image.std() > 0.02


def test_two_styles_mix_and_one_without_weight_is_none(untrained, cat, stripes):
    other = stripes.mT.flip(1).contiguous()
    one = styled(untrained, cat, stripes).image
    assert torch.allclose(styled(untrained, cat, [stripes, other], weight=[1, 0]).image, one, atol=1e-3)
    assert not torch.allclose(styled(untrained, cat, [stripes, other], weight=[1, 1]).image, one, atol=0.05)


def test_a_mask_says_where_the_style_may_go(untrained, cat, stripes):
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :24] = 1
    changed = (styled(untrained, cat, stripes, mask=mask).image - cat).abs().mean(1)
    assert changed[..., :24].mean() > 5 * changed[..., 48:].mean()


def test_luminance_alone_is_made_anew(untrained, cat, stripes):
    found = styled(untrained, cat, stripes, colour="luminance").image
    inside = ((found > 0) & (found < 1)).all(1, keepdim=True).expand_as(found)
    change = found - cat
    assert (change - change.mean(1, keepdim=True))[inside].abs().max() < 1e-5
    assert change.abs().mean() > 0.02


def test_recoloured_has_the_mean_and_covariance_of_the_goal():
    x, goal = 0.3 + 0.4 * data.photograph("coffee", 48), 0.35 + 0.3 * data.photograph("flower", 56)
    ours, theirs = (np.asarray(y[0].flatten(1)) for y in (recipes.recoloured(x, goal), goal))
    assert np.allclose(ours.mean(1), theirs.mean(1), atol=1e-3)
    assert np.allclose(np.cov(ours), np.cov(theirs), atol=2e-4)


def test_a_grey_style_gives_its_pattern_and_no_nan(untrained, cat, stripes):
    grey = stripes.mean(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()
    for colour in module.COLOURS:
        found = styled(untrained, cat, grey, colour=colour).image
        assert torch.isfinite(found).all() and found.std() > 0.02


@pytest.mark.slow
def test_every_size_begins_with_the_same_small_copy(coursenet, stripes):
    """Seen from afar, three times the size has the look of the small image."""

    def alike(name, coarsest):
        content = data.photograph(name, 192)
        sizes = (resize(content, (side, side)).clamp(0, 1) for side in (64, 192))
        made = [styled(coursenet, x, stripes, coarsest=coarsest, steps=4).image for x in sizes]
        return float(torch.corrcoef(torch.stack([resize(x, (16, 16)).flatten() for x in made]))[0, 1])

    gains = [alike(name, 64) - alike(name, None) for name in ("chelsea", "coffee", "astronaut", "rocket")]
    assert min(gains) > 0 and sum(gains) / 4 > 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content_layer", "style_layers"),
    [("relu2", ("relu1", "relu2")), pytest.param("relu3", LAYERS, marks=pytest.mark.slow)],
)
def test_tiles_change_nothing(content_layer, style_layers, untrained, stripes, monkeypatch):
    net = copy.deepcopy(untrained).double()
    content = F.interpolate(data.photograph("coffee", None), (150, 200)).double()
    options = {"steps": 1, "optimizer": partial(torch.optim.SGD, lr=0.0), "coarsest": None}

    def energies():
        return recipes.transfer_style(net, content, stripes.double(), content_layer, style_layers, **options).energy

    whole = energies()
    monkeypatch.setattr(module, "SIDE", 64)
    tiled = energies()
    assert whole.keys() == tiled.keys()
    for name, values in whole.items():
        assert tiled[name] == pytest.approx(values, rel=1e-6, abs=1e-9), name


@pytest.mark.slow
def test_a_regularizer_over_layers_needs_an_image_that_runs_whole(untrained, cat, stripes, monkeypatch):
    monkeypatch.setattr(module, "SIDE", 48)
    for made in (lambda **o: styled(untrained, cat, stripes, **o), lambda **o: texture(untrained, stripes, **o)):
        with pytest.raises(ValueError, match=r"beyond 48 pixels runs in tiles, where squared_norm\('relu3'\)"):
            made(regularizer=squared_norm("relu3"))
    found = styled(untrained, cat, stripes, steps=1, regularizer=1e-3 * total_variation())
    assert "total_variation(beta=2)" in found.energy


def test_ctrl_c_holds_an_image_of_full_size(untrained, cat, stripes, monkeypatch):
    calls = []
    forward = Unbounded.forward

    def stop(image):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(image)

    monkeypatch.setattr(Unbounded, "forward", stop)
    with pytest.raises(Interrupted) as stopped:
        styled(untrained, cat, stripes, coarsest=32)
    assert stopped.value.found.image.shape == cat.shape


def test_ctrl_c_holds_a_texture_that_is_finished_like_any_other(untrained, stripes):
    counted = []

    def stop(activations, x):
        counted.append(x.shape)
        if len(counted) == 4:
            raise KeyboardInterrupt
        return 0 * x.sum()

    options = {"size": (96, 64), "optimizer": partial(torch.optim.SGD, lr=0.1), "steps": 2, "histogram": True}
    with pytest.raises(Interrupted) as stopped:
        texture(untrained, stripes, coarsest=32, regularizer=Energy.of("stop", stop), **options)
    found = stopped.value.found
    assert found.image.shape == (1, 3, 96, 64) and len(found.total) == 3
    assert counted[2] == counted[3] == (1, 3, 96, 64)  # in the second of two copies
    colours = [set(x[0, 0].flatten().tolist()) for x in (found.image, stripes)]
    assert colours[0] <= colours[1]  # its histogram is the exemplar's


# ---------------------------------------------------------------- bad input


def test_bad_input_names_the_culprit(untrained, squeezenet, cat, stripes):
    for options, message in (
        ({"weight": [1, 2]}, "2 weights for 1 style"),
        ({"mask": torch.ones(1, 1, 32, 32)}, r"mask of 1 style.* is \(1, 1, 64, 64\), got \(1, 1, 32, 32\)"),
        ({"mask": torch.zeros(1, 1, 64, 64)}, "zero everywhere"),
        ({"mask": torch.full((1, 1, 64, 64), -0.1)}, "from 0 to 1"),
        ({"mask": torch.full((1, 1, 64, 64), 255.0)}, "from 0 to 1"),
        ({"colour": "luminence"}, "did you mean 'luminance'"),
        ({"coarsest": 0}, "coarsest must be at least 1"),
        ({"regularizer": squared_norm("relu9")}, r"no layer 'relu9' .*for the term squared_norm\('relu9'\)"),
    ):
        with pytest.raises(ValueError, match=message):
            styled(untrained, cat, stripes, **options)
    with pytest.raises(ValueError, match="no layer 'relu9'"):
        texture(untrained, stripes, ["relu9"])
    with pytest.raises(ValueError, match="'fc6' has no positions"):
        texture(untrained, data.photograph("coffee", 96), ["fc6"])
    with pytest.raises(ValueError, match="needs images of at least"):
        texture(squeezenet, stripes, ["features.12"], size=(12, 12), coarsest=None)
    with pytest.raises(ValueError, match="one exemplar"):
        texture(untrained, stripes.expand(2, -1, -1, -1))
    with pytest.raises(ValueError, match="at least one style"):
        styled(untrained, cat, [])
    with pytest.raises(ValueError, match="NaN"):
        styled(untrained, cat, stripes * float("nan"))


def test_sizes_of_random_filters_are_odd():
    with pytest.raises(ValueError, match="odd"):
        models.RandomFilters(sizes=(3, 4))


def test_average_pooling_is_a_copy_in_which_no_maximum_is_left(untrained):
    average = models.average_pooling(untrained)
    x = world.draw(1, seed=3).images
    assert not [m for m in average.modules() if isinstance(m, nn.MaxPool2d)]
    assert [m for m in untrained.modules() if isinstance(m, nn.MaxPool2d)]
    a = Taps(untrained, "relu1")(x)["relu1"]
    pool = untrained.get_submodule("pool1")
    pooled = F.avg_pool2d(a, pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)
    assert torch.allclose(Taps(average, "pool1")(x)["pool1"], pooled, atol=1e-6)
    assert not torch.allclose(average(x), untrained(x))
