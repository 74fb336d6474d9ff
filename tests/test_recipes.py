"""recipes.maximize_activation and match, and what all recipes have in common."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from course_lib import data, models, recipes, world
from course_lib.descriptors import HOG
from course_lib.energy import Energy, activation, squared_norm, total_variation
from course_lib.images import Fourier, Pixels, compose, grey, jitter
from course_lib.preimage import ADAM, Interrupted
from course_lib.taps import Taps

SGD = partial(torch.optim.SGD, lr=0.1)


@pytest.mark.slow
def test_a_class_is_synthesised_that_another_network_recognises(coursenet):
    """The other network was trained from another seed on other scenes."""
    judge = models.load("coursenet", seed=1)
    hits = 0
    for label in (3, 4, 5):
        result = recipes.maximize_activation(coursenet, "fc8", label, steps=128)
        assert int(coursenet(result.image).argmax()) == label
        hits += int(judge(result.image).argmax()) == label
    assert hits >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer", ["conv1", *(pytest.param(x, marks=pytest.mark.slow) for x in ("relu2", "conv3", "relu5", "fc6", "relu7"))]
)
def test_units_of_every_layer_rise_above_what_scenes_evoke(layer, coursenet, scenes):
    taps = Taps(coursenet, layer)

    def strength(x):
        a = taps(x)[layer]  # (n, c) or (n, c, h, w)
        return a.reshape(*a.shape[:2], -1).mean(2)  # (n, c)

    evoked = strength(scenes.images).amax(0)
    units = torch.arange(0, len(evoked), len(evoked) // 8)[:8]
    result = recipes.maximize_activation(coursenet, layer, units, steps=96)
    risen = strength(result.image)[torch.arange(8), units]
    assert (risen > evoked[units]).all()
    assert risen.median() > 1.5 * evoked[units].median()


def test_one_position_of_a_channel_changes_only_what_it_sees(coursenet):
    start = grey(96, 96)
    result = recipes.maximize_activation(
        coursenet, "conv2", 3, at=(12, 12), image=Pixels(start), transform=jitter(0), steps=5,
        optimizer=partial(torch.optim.SGD, lr=1.0),
    )  # fmt: skip
    moved = (result.image != start).any(1)[0]
    assert moved.any() and moved.float().mean() < 0.15


def test_several_units_ascend_at_once(coursenet):
    together = recipes.maximize_activation(coursenet, "fc8", [2, 7], steps=40)
    assert together.image.shape == (2, 3, 96, 96)
    assert coursenet(together.image).argmax(1).tolist() == [2, 7]


@pytest.mark.slow
def test_silent_units_are_woken(coursenet):
    taps = Taps(coursenet, "relu7")
    quiet = (taps(Fourier(96, 96)().detach())["relu7"][0] == 0).nonzero()[:12, 0]
    result = recipes.maximize_activation(coursenet, "relu7", quiet, steps=60)
    responses = taps(result.image)["relu7"][torch.arange(12), quiet]
    assert (responses > 1).sum() >= 10


@pytest.mark.slow
def test_a_unit_that_is_silent_at_its_position_is_woken_though_the_channel_is_not(coursenet):
    taps, start = Taps(coursenet, "relu3"), Fourier(96, 96)().detach()
    maps = taps(start)["relu3"][0]
    quiet = ((maps.amax((1, 2)) > 0) & (maps[:, 6, 6] == 0)).nonzero()[:6, 0].tolist()
    assert quiet
    for channel in quiet:
        result = recipes.maximize_activation(coursenet, "relu3", channel, at=(6, 6), steps=40)
        assert taps(result.image)["relu3"][0, channel, 6, 6] > 0.5


def test_unknown_units_are_named(coursenet):
    with pytest.raises(ValueError, match="no layer 'fc9'"):
        recipes.maximize_activation(coursenet, "fc9", 0)
    with pytest.raises(ValueError, match="no channel of layer 'fc8' with number 10"):
        recipes.maximize_activation(coursenet, "fc8", 10)


def test_class_names_are_the_channels_of_the_output(coursenet):
    by_name, by_number = (
        recipes.maximize_activation(coursenet, "fc8", channel, steps=2).image
        for channel in (["ring", "star"], [coursenet.index("ring"), coursenet.index("star")])
    )
    assert torch.equal(by_name, by_number)
    one = recipes.maximize_activation(coursenet, "", "star", steps=1)
    assert list(one.energy) == [f"activation('', {coursenet.index('star')})"] and len(one.image) == 1
    with pytest.raises(ValueError, match=r"no class of coursenet 'stra' \(did you mean 'star'"):
        recipes.maximize_activation(coursenet, "fc8", "stra")
    with pytest.raises(ValueError, match="layer 'conv1' has 32 channels, which are not the 10 classes"):
        recipes.maximize_activation(coursenet, "conv1", "star")
    with pytest.raises(ValueError, match="one int or 1 of them, got 2"):
        recipes.maximize_activation(coursenet, "fc8", [1, 2], image=Fourier(96, 96))


def test_a_plain_module_needs_an_image(coursenet):
    plain = coursenet.wrapped
    with pytest.raises(ValueError, match=r"wrap it in models\.Network, or give an image="):
        recipes.maximize_activation(plain, "fc8", 3)
    with pytest.raises(TypeError, match="has no class names"):
        recipes.maximize_activation(plain, "fc8", "star", image=Fourier(96, 96))
    found = recipes.maximize_activation(plain, "fc8", 3, image=Fourier(96, 96), steps=2)
    assert found.image.shape == (1, 3, 96, 96)


def test_the_default_transform_moves_the_image_and_jitter_of_zero_does_not(coursenet):
    def first_values(transform):
        image = Pixels(data.photograph("chelsea", 96))
        found = recipes.maximize_activation(
            coursenet, "fc8", 3, image=image, transform=transform, steps=2, optimizer=still
        )
        return found.total

    still = partial(torch.optim.SGD, lr=0.0)
    moved, fixed = first_values(None), first_values(jitter(0))
    assert fixed[0] == fixed[1] and moved[0] != moved[1]


def test_waking_is_left_out_where_a_rule_is_not_defined():
    """A unit that no image can wake, behind another activation function: the ascent goes on without it."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.SiLU(), torch.nn.Conv2d(2, 2, 1)).requires_grad_(False)
    net[2].weight.zero_(), net[2].bias.zero_()
    found = recipes.maximize_activation(net, "2", 1, image=Fourier(16, 16), steps=2)
    assert found.total == [0, 0]


# ---------------------------------------------------------------- what all recipes have in common

# (net, x, **options): each recipe, small
RECIPES = {
    "maximize_activation": lambda net, x, **o: recipes.maximize_activation(net, "fc8", 3, **o),
    "multifaceted": lambda net, x, **o: recipes.multifaceted(
        net, "fc8", 3, torch.cat([x, x.flip(3)]), code_layer="relu6", facets=1, **o
    ),
    "deepdream": lambda net, x, **o: recipes.deepdream(net, x, "relu3", octaves=1, **o),
    "caricature": lambda net, x, **o: recipes.caricature(net, x, "relu4", **o),
    "invert": lambda net, x, steps=2, **o: recipes.invert(Taps(net, "conv3"), x, stages=[(ADAM, steps)], **o),
    "match": lambda net, x, **o: recipes.match(Taps(net, "conv3"), x, x.flip(3), rates=(0.01,), **o),
    "synthesize_texture": lambda net, x, **o: recipes.synthesize_texture(
        net, x, ["relu1", "relu2"], coarsest=None, **{"optimizer": SGD} | o
    ),
    "transfer_style": lambda net, x, **o: recipes.transfer_style(
        net, x, x.flip(3), "relu3", ["relu1"], coarsest=None, **{"optimizer": SGD} | o
    ),
}


@pytest.fixture(scope="module")
def cat():
    return data.photograph("chelsea", 96)


@pytest.mark.parametrize("name", RECIPES)
def test_a_regularizer_over_any_layer_composes(name, coursenet, cat):
    plain = RECIPES[name](coursenet, cat, steps=2)
    regularizer = -100 * activation("conv1", 2) + total_variation(1)
    held = RECIPES[name](coursenet, cat, steps=2, regularizer=regularizer)
    assert list(held.energy)[-2:] == ["activation('conv1', 2)", "total_variation(beta=1)"]
    assert not torch.allclose(held.image, plain.image)
    assert held.energy["activation('conv1', 2)"][1] < held.energy["activation('conv1', 2)"][0]


@pytest.mark.parametrize("name", RECIPES)
def test_a_layer_that_a_regularizer_lacks_is_named_with_its_term(name, coursenet, cat):
    message = r"no layer 'conv9' \(did you mean .*\) for the term squared_norm\('conv9'\); choose from conv1, relu1"
    with pytest.raises(ValueError, match=message):
        RECIPES[name](coursenet, cat, regularizer=squared_norm("conv9"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_mistyped_option_is_blamed_on_the_recipe(name, coursenet, cat):
    with pytest.raises(TypeError, match=rf"{name}\(\) has no option 'regulariser' \(did you mean 'regularizer'"):
        RECIPES[name](coursenet, cat, regulariser=squared_norm("conv1"))


def test_a_mistyped_parameter_of_the_recipe_itself_is_found_too(coursenet, cat):
    with pytest.raises(TypeError, match=r"deepdream\(\) has no option 'octave' \(did you mean 'octaves'"):
        recipes.deepdream(coursenet, cat, "relu3", octave=2)
    with pytest.raises(TypeError, match=r"dream_zoom\(\) has no option 'frame' \(did you mean 'frames'"):
        recipes.dream_zoom(coursenet, cat, "relu3", frame=2)
    with pytest.raises(TypeError, match=r"invert\(\) has no option 'steps'"):
        recipes.invert(HOG(), cat, steps=3)


@pytest.mark.parametrize("name", RECIPES)
def test_one_forward_pass_a_step_serves_all_terms(name, coursenet, cat):
    passes = []
    net = copy.deepcopy(coursenet)
    net.get_submodule("conv1").register_forward_hook(lambda *_: passes.append(1))

    def count(steps):
        passes.clear()
        RECIPES[name](net, cat, steps=steps, regularizer=squared_norm("conv1", "relu4"))
        return len(passes)

    assert count(4) - count(1) == 3


@pytest.mark.parametrize("name", RECIPES)
def test_ctrl_c_holds_the_image_and_the_energies_so_far(name, coursenet, cat):
    steps = []

    def stop(activations, x):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return 0 * x.sum()

    with pytest.raises(Interrupted) as stopped:
        RECIPES[name](coursenet, cat, steps=5, regularizer=Energy.of("stop", stop))
    found = stopped.value.found
    assert found.image.shape == cat.shape and len(found.total) == 2 == len(found.energy["stop"])
    steps[:] = [1] * 3  # from now on it does not stop
    assert torch.equal(found.image, RECIPES[name](coursenet, cat, steps=2, regularizer=Energy.of("stop", stop)).image)


@pytest.mark.parametrize("name", RECIPES)
def test_a_network_in_half_precision_descends_as_its_float_copy_does(name, coursenet, cat):
    half = copy.deepcopy(coursenet).half()
    found = RECIPES[name](half, cat.half(), steps=2)
    copied = RECIPES[name](copy.deepcopy(half).float(), cat.half().float(), steps=2)
    assert found.image.dtype == torch.half and torch.equal(found.image, copied.image.half())
    assert half.mean.dtype == torch.half and next(half.parameters()).dtype == torch.half  # it stays as it is


# ---------------------------------------------------------------- match


def test_two_images_share_one_hog():
    """Tatu 2011, small: the code comes over, the colours stay."""
    start, goal = data.photograph("chelsea", 48), data.photograph("coffee", 48)
    phi = HOG(bilinear=True)
    free = recipes.match(HOG(bilinear=True, clamp=math.inf), start, goal, rates=(0.01, 0.005, 0.002), steps=60)
    found = recipes.match(phi, free.image, goal, rates=(0.001,), steps=60)
    target = phi(goal)

    def error(x):
        return float((phi(x) - target).norm() / target.norm())

    assert error(start) > 0.8
    assert error(found.image) < 0.1
    colours = [x.mean((2, 3)) for x in (start, found.image, goal)]
    assert (colours[1] - colours[0]).norm() < 0.3 * (colours[1] - colours[2]).norm()


@pytest.mark.slow
def test_an_initial_image_lives_on_in_the_colours_that_hog_ignores():
    """HOG reads each pixel's steepest colour: blue takes the goal's code, red and green keep the start."""
    start, goal = data.photograph("coffee", 64), data.photograph("chelsea", 64)
    both = start.clone()
    noise = torch.randn(both[:, 2].shape, generator=torch.Generator().manual_seed(0))
    both[:, 2] = (0.5 + 0.1 * noise).clamp(0, 1)
    stay = Energy.of("stay", lambda _, x: (x - start)[:, :2].square().mean())
    found = {}
    for name, weight in (("held", 0.6), ("free", 0.0)):
        found[name] = recipes.match(
            HOG(bilinear=True, clamp=math.inf), both, goal, regularizer=weight * stay,
            rates=(0.03, 0.01, 0.005, 0.002), steps=60,
        ).image  # fmt: skip
    phi = HOG(bilinear=True)

    def psnr(x, y):
        return float(-10 * (x - y)[:, :2].square().mean().log10())

    assert float((phi(found["held"]) - phi(goal)).norm() / phi(goal).norm()) < 0.15
    assert psnr(found["held"], start) > 18
    assert psnr(found["held"], start) > psnr(found["free"], start) + 2
    assert psnr(found["held"], start) > psnr(found["held"], goal) + 5


@pytest.mark.slow
def test_the_clamp_hides_the_way_back_and_a_bridge_leads_over_it():
    start, goal = data.photograph("chelsea", 48), data.photograph("coffee", 48)
    rates = {"rates": (0.01, 0.005, 0.002), "steps": 60}

    def error(phi, seen, bridge):
        found = recipes.match(seen, start, goal, bridge=bridge, **rates).image
        return float((phi(found) - phi(goal)).norm())

    soft, hard = HOG(bilinear=True), HOG()
    hidden = error(soft, soft, bridge=False)
    assert error(soft, HOG(bilinear=True, clamp=math.inf), bridge=False) < 0.8 * hidden
    assert error(soft, soft, bridge=True) < 0.8 * hidden
    assert error(hard, hard, bridge=True) < 0.8 * error(hard, hard, bridge=False)


def test_a_match_stays_in_its_radius_and_tells_its_energy(coursenet, scenes):
    start, goal = scenes.images[:2], scenes.images[2:4]
    found = recipes.match(Taps(coursenet, "fc6"), start, goal, radius=8 / 255, rates=(0.01, 0.002), steps=15)
    assert (found.image - start).abs().max() <= 8 / 255 + 1e-6
    assert len(found.energy["distance"]) == 30
    assert found.total[-1] < 0.5 * found.total[0]
    with pytest.raises(ValueError, match="at least one step size"):
        recipes.match(Taps(coursenet, "fc6"), start, goal, rates=())


def test_ctrl_c_holds_an_image_in_the_networks_precision(coursenet, cat):
    def stop(activations, x):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        recipes.caricature(copy.deepcopy(coursenet).half(), cat.half(), "relu4", regularizer=Energy.of("stop", stop))
    assert stopped.value.found.image.dtype == torch.half


# ---------------------------------------------------------------- out of focus where the unit does not look


class LeftEdge(nn.Module):
    """One unit that sees the left quarter of an image, and looks twice."""

    def forward(self, x):
        return x[..., : x.shape[3] // 4].mean((2, 3))


def test_what_a_unit_looks_at_stays_sharp_and_the_rest_is_blurred(generator):
    x = torch.rand(2, 3, 32, 64, generator=generator)
    still = compose()
    found = recipes.in_focus(LeftEdge(), "", 1, x, transform=still, blur=2.0)
    assert found.shape == x.shape and 0 <= found.min() and found.max() <= 1
    assert torch.allclose(found[..., :8], x[..., :8], atol=1e-3)
    far = found[..., 32:]
    assert torch.allclose(far, gaussian_blur(x, 13, 2.0)[..., 32:], atol=1e-5)
    assert far.std() < 0.4 * x[..., 32:].std()


def test_focus_follows_the_class_of_each_image_and_its_seed(coursenet):
    x = world.draw(2, seed=8).images
    both = recipes.in_focus(coursenet, "fc8", ["star", "ring"], x, views=2)
    one = recipes.in_focus(coursenet, "", 4, x, views=2)
    assert torch.allclose(both[1], one[1], atol=1e-5) and not torch.allclose(both[0], one[0], atol=1e-3)
    assert torch.equal(one, recipes.in_focus(coursenet, "", 4, x, views=2))
    assert not torch.equal(one, recipes.in_focus(coursenet, "", 4, x, views=2, seed=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"views": 0}, "views must be at least 1, got 0"), ({"blur": 0}, "blur must be above 0, got 0")],
)
def test_a_focus_without_views_or_blur_is_refused(options, message, coursenet):
    with pytest.raises(ValueError, match=message):
        recipes.in_focus(coursenet, "fc8", 3, world.draw(1).images, **options)
    with pytest.raises(ValueError, match="no layer 'fc9'"):
        recipes.in_focus(coursenet, "fc9", 3, world.draw(1).images)
