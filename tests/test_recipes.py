import math
from functools import partial

import pytest
import torch

from course_lib import data, models, recipes
from course_lib.descriptors import HOG
from course_lib.energy import Energy
from course_lib.images import Fourier, Pixels, grey, jitter
from course_lib.taps import Taps


def test_a_class_is_synthesised_that_another_network_recognises(coursenet):
    """The other network was trained from another seed on other scenes."""
    judge = models.load("coursenet", seed=1)
    hits = 0
    for label in (3, 4, 5):
        result = recipes.maximize_activation(coursenet, "fc8", label, steps=128, progress=False)
        assert int(coursenet(result.image).argmax()) == label
        hits += int(judge(result.image).argmax()) == label
    assert hits >= 2


@pytest.mark.parametrize("layer", ["conv1", "relu2", "conv3", "relu5", "fc6", "relu7"])
def test_units_of_every_layer_rise_above_what_scenes_evoke(layer, coursenet, scenes):
    taps = Taps(coursenet, layer)

    def strength(x):
        a = taps(x)[layer]  # (n, c) or (n, c, h, w)
        return a.reshape(*a.shape[:2], -1).mean(2)  # (n, c)

    evoked = strength(scenes.images).amax(0)
    units = torch.arange(0, len(evoked), len(evoked) // 8)[:8]
    result = recipes.maximize_activation(coursenet, layer, units, steps=96, progress=False)
    risen = strength(result.image)[torch.arange(8), units]
    assert (risen > evoked[units]).all()
    assert risen.median() > 1.5 * evoked[units].median()


def test_one_place_of_a_channel_changes_only_what_it_sees(coursenet):
    start = grey(96, 96)
    result = recipes.maximize_activation(
        coursenet, "conv2", 3, at=(12, 12), image=Pixels(start), transform=jitter(0), steps=5, progress=False,
        optimizer=partial(torch.optim.SGD, lr=1.0),
    )  # fmt: skip
    moved = (result.image != start).any(1)[0]
    assert moved.any() and moved.float().mean() < 0.15


def test_several_units_ascend_at_once(coursenet):
    together = recipes.maximize_activation(coursenet, "fc8", torch.tensor([2, 7]), steps=40, progress=False)
    assert together.image.shape == (2, 3, 96, 96)
    assert coursenet(together.image).argmax(1).tolist() == [2, 7]


def test_silent_units_are_woken(coursenet):
    taps = Taps(coursenet, "relu7")
    quiet = (taps(Fourier(96, 96)().detach())["relu7"][0] == 0).nonzero()[:12, 0]
    result = recipes.maximize_activation(coursenet, "relu7", quiet, steps=60, progress=False)
    answers = taps(result.image)["relu7"][torch.arange(12), quiet]
    assert (answers > 1).sum() >= 10


def test_a_unit_that_is_silent_at_its_place_is_woken_though_the_channel_is_not(coursenet):
    taps, start = Taps(coursenet, "relu3"), Fourier(96, 96)().detach()
    maps = taps(start)["relu3"][0]
    quiet = ((maps.amax((1, 2)) > 0) & (maps[:, 6, 6] == 0)).nonzero()[:6, 0].tolist()
    assert quiet
    for channel in quiet:
        result = recipes.maximize_activation(coursenet, "relu3", channel, at=(6, 6), steps=40, progress=False)
        assert taps(result.image)["relu3"][0, channel, 6, 6] > 0.5


def test_unknown_units_are_named(coursenet):
    with pytest.raises(ValueError, match="no layer 'fc9'"):
        recipes.maximize_activation(coursenet, "fc9", 0, progress=False)
    with pytest.raises(ValueError, match="no channel of layer 'fc8' with number 10"):
        recipes.maximize_activation(coursenet, "fc8", 10, progress=False)


# ---------------------------------------------------------------- match


def test_two_pictures_share_one_hog():
    """Tatu 2011, small: the code comes over, the colours stay."""
    start, goal = data.photograph("chelsea", 48), data.photograph("coffee", 48)
    phi = HOG(bilinear=True)
    free = recipes.match(
        HOG(bilinear=True, clamp=math.inf), start, goal, rates=(0.01, 0.005, 0.002), steps=60, progress=False
    )
    found = recipes.match(phi, free.image, goal, rates=(0.001,), steps=60, progress=False)
    target = phi(goal)

    def error(x):
        return float((phi(x) - target).norm() / target.norm())

    assert error(start) > 0.8
    assert error(found.image) < 0.1
    colours = [x.mean((2, 3)) for x in (start, found.image, goal)]
    assert (colours[1] - colours[0]).norm() < 0.3 * (colours[1] - colours[2]).norm()


def test_a_start_lives_on_in_the_colours_that_hog_ignores():
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
            rates=(0.03, 0.01, 0.005, 0.002), steps=60, progress=False,
        ).image  # fmt: skip
    phi = HOG(bilinear=True)

    def psnr(x, y):
        return float(-10 * (x - y)[:, :2].square().mean().log10())

    assert float((phi(found["held"]) - phi(goal)).norm() / phi(goal).norm()) < 0.15
    assert psnr(found["held"], start) > 18
    assert psnr(found["held"], start) > psnr(found["free"], start) + 2
    assert psnr(found["held"], start) > psnr(found["held"], goal) + 5


def test_the_clamp_hides_the_way_back_and_a_bridge_leads_over_it():
    start, goal = data.photograph("chelsea", 48), data.photograph("coffee", 48)
    rates = {"rates": (0.01, 0.005, 0.002), "steps": 60, "progress": False}

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
    found = recipes.match(
        Taps(coursenet, "fc6"), start, goal, radius=8 / 255, rates=(0.01, 0.002), steps=15, progress=False
    )
    assert (found.image - start).abs().max() <= 8 / 255 + 1e-6
    assert len(found.energy["distance"]) == 30
    assert found.total[-1] < 0.5 * found.total[0]
    with pytest.raises(ValueError, match="at least one step size"):
        recipes.match(Taps(coursenet, "fc6"), start, goal, rates=())
