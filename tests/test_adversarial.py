import math
import os
import random
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchattacks
from scipy.optimize import minimize_scalar
from torch import nn

from course_lib import adversarial, data, models, world
from course_lib.adversarial import attacks
from course_lib.adversarial.evolution import mutate_pixels
from course_lib.energy import activation
from course_lib.preimage import Interrupted

EPSILON = 8 / 255
FOLDER = os.environ.get("COURSE_PHOTOGRAPHS", "")


@pytest.fixture(scope="module")
def seen(coursenet):
    """Eight scenes that CourseNet gets right, and labels: the mean over a power of two rounds as the sum does."""
    scenes = world.draw(16, seed=77)
    right = coursenet(scenes.images).argmax(1) == scenes.labels
    return scenes.images[right][:8], scenes.labels[right][:8]


class Toy(nn.Module):
    """f(x) = 1 - ReLU(1 - x), each input a class."""

    def forward(self, x):
        return 1 - F.relu(1 - x)


class Linear(nn.Module):
    """Two classes with scores 0 and w x: the softmax is the logistic function."""

    W = torch.tensor([-1.0, -1, 1, -1, 1, -1, 1, 1, -1, 1])

    def forward(self, x):
        score = x @ self.W
        return torch.stack([torch.zeros_like(score), score], 1)


# ---------------------------------------------------------------- against others


class _Contiguous(torch.autograd.Function):
    """The identity, with the gradient in the one memory layout that torchattacks' L2 attack can flatten."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient.contiguous()


class Flattenable(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x):
        return self.net(_Contiguous.apply(x))


def test_fgsm_is_torchattacks(coursenet, seen):
    x, label = seen
    expected = torchattacks.FGSM(coursenet, eps=EPSILON)(x, label)
    assert (adversarial.fgsm(coursenet, x, label, EPSILON) - expected).abs().max() <= 1e-6


def test_pgd_is_torchattacks(coursenet, seen):
    x, label = seen
    attack = torchattacks.PGD(coursenet, eps=EPSILON, alpha=2 / 255, steps=5, random_start=False)
    got = adversarial.pgd(coursenet, x, label, EPSILON, 5, step_size=2 / 255)
    assert (got - attack(x, label)).abs().max() <= 1e-6


def test_targeted_pgd_is_torchattacks(coursenet, seen):
    x, label = seen
    attack = torchattacks.PGD(coursenet, eps=EPSILON, alpha=2 / 255, steps=5, random_start=False)
    attack.set_mode_targeted_by_label(quiet=True)
    target = (label + 1) % 10
    got = adversarial.pgd(coursenet, x, target, EPSILON, 5, step_size=2 / 255, targeted=True)
    assert (got - attack(x, target)).abs().max() <= 1e-6


@pytest.mark.slow
def test_pgd_in_l2_is_torchattacks(coursenet):
    # the scenes that it is least sure of: elsewhere the 1e-10 that torchattacks adds to |g| shortens its steps
    scenes = world.draw(64, seed=77)
    sure, guess = coursenet(scenes.images).softmax(1).max(1)
    rows = sure.masked_fill(guess != scenes.labels, 2).argsort()[:8]
    x, label = scenes.images[rows], scenes.labels[rows]
    attack = torchattacks.PGDL2(Flattenable(coursenet), eps=1.0, alpha=0.2, steps=5, random_start=False)
    got = adversarial.pgd(coursenet, x, label, 1.0, 5, step_size=0.2, norm="l2")
    assert (got - attack(x, label)).abs().max() <= 1e-6


def test_a_toy_worked_by_hand():
    # the loss is the score itself: it rises for the label, and falls for a target
    x = torch.tensor([[2.0, -9, 9, 1, -3]])
    got = adversarial.fgsm(Toy(), x, 1, 0.1, loss=activation, anyway=True)
    assert torch.allclose(got, torch.tensor([[2.0, -8.9, 9, 1, -3]]))
    x = torch.tensor([[9.0, 10, -6, -1]])
    got = adversarial.fgsm(Toy(), x, 3, 0.2, targeted=True, loss=activation)
    assert torch.allclose(got, torch.tensor([[9.0, 10, -6, -1.2]]))


def test_the_linear_example_of_the_lecture():
    net, x = Linear(), torch.tensor([[2.0, -1, 3, -2, 2, 2, 1, -4, 5, 1]])
    assert net(x)[0, 1] == -3
    assert round(float(net(x).softmax(1)[0, 1]), 4) == 0.0474
    moved = adversarial.fgsm(net, x, 0, 0.5)
    assert torch.equal(moved, x + 0.5 * net.W.sign())
    assert net(moved)[0, 1] == 2
    assert round(float(net(moved).softmax(1)[0, 1]), 4) == 0.8808


def test_a_sure_network_gives_a_direction_all_the_same():
    # where p = 1 - 1e-12, the gradient is 1e-12 of the usual one: the steps keep their length
    steep = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    with torch.no_grad():
        steep[1].weight.copy_(torch.tensor([[4.0] * 12, [-4.0] * 12]))
    x = torch.full((1, 3, 2, 2), 0.3)
    assert torch.allclose((adversarial.pgd(steep, x, 0, 0.1, 1, norm="l2") - x).norm(), torch.tensor(0.1), atol=1e-5)


@pytest.mark.slow
def test_the_default_step_is_two_and_a_half_times_the_radius_over_the_number_of_steps(coursenet, seen):
    x, label = seen[0][:2], seen[1][:2]
    attack = torchattacks.PGD(coursenet, eps=EPSILON, alpha=2.5 * EPSILON / 20, steps=20, random_start=False)
    assert (adversarial.pgd(coursenet, x, label, EPSILON) - attack(x, label)).abs().max() <= 1e-6


# ---------------------------------------------------------------- the ball and the box


def test_each_image_decides_its_own_box():
    """As a batch before, one image outside [0, 1] let the others leave it: 1.09 for 1.00."""
    net = Linear()
    x = torch.stack([torch.full((10,), 0.95), torch.full((10,), 2.0), torch.full((10,), 0.5)])
    together = adversarial.pgd(net, x, 0, 0.09, 4, anyway=True)
    alone = torch.cat([adversarial.pgd(net, row[None], 0, 0.09, 4, anyway=True) for row in x])
    assert torch.equal(together, alone)
    assert together[0].max() == 1 and together[1].max() > 2.08 and together[1].min() < 1.92


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("norm", adversarial.NORMS)
def test_half_precision_stays_in_the_ball_exactly_and_a_zero_change_is_none(norm, dtype, generator):
    start = torch.rand(4, 3, 8, 8, generator=generator).to(dtype)
    ball = adversarial.Ball(start, EPSILON, norm)
    ball.project()
    assert torch.equal(ball.exact(), start)
    with torch.no_grad():
        ball.pixels.add_(torch.randn(start.shape, generator=generator).to(dtype))
    ball.project()
    still = adversarial.Ball(start, 0, norm)
    still.project()
    assert torch.equal(still.exact(), start)
    change = (ball.exact().double() - start.double()).flatten(1)
    size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert bool((size <= EPSILON).all() and (size > 0.5 * EPSILON).all())


def _initial(norm, n, epsilon):
    """What PGD starts from: it makes no step."""
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), torch.full((n, 3, 1, 1), 0.5)
    options = {"norm": norm, "step_size": 0, "random_start": True, "seed": 3, "anyway": True}
    return (adversarial.pgd(net, x, 0, epsilon, 1, **options) - x).flatten(1) / epsilon


def test_a_random_start_fills_the_cube():
    change = _initial("linf", 2000, 0.3)
    assert 0.99 < change.abs().max() <= 1 and abs(change.mean()) < 0.03
    assert abs(change.std() - 3**-0.5) < 0.02  # of a uniform number in [-1, 1]


def test_a_random_start_goes_in_any_direction_by_any_length_up_to_the_radius():
    change = _initial("l2", 2000, 0.3)
    length = change.norm(dim=1)
    assert 0.99 < length.max() <= 1 and length.min() < 0.01
    assert abs(length.mean() - 0.5) < 0.02 and abs(length.std() - 12**-0.5) < 0.02  # of a uniform number in [0, 1]
    assert (change / length[:, None]).mean(0).abs().max() < 0.05


@pytest.mark.parametrize(
    "radius, error", [(True, TypeError), ("1", TypeError), (-1, ValueError), (math.nan, ValueError)]
)
def test_a_bad_radius_of_a_ball_is_refused(radius, error):
    with pytest.raises(error, match="radius"):
        adversarial.Ball(torch.zeros(1, 3, 2, 2), radius, "l2")


def test_a_ball_of_no_norm_or_of_no_images_is_refused():
    with pytest.raises(ValueError, match="no norm 'l1'.*choose from linf, l2"):
        adversarial.Ball(torch.zeros(1, 3, 2, 2), 1, "l1")
    with pytest.raises(TypeError, match="the start is a floating tensor, got torch.uint8"):
        adversarial.Ball(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), 1, "l2")


@pytest.mark.parametrize("epsilon", [torch.tensor(0.25), np.float32(0.25), np.float64(0.25), Fraction(1, 4)])
def test_a_number_of_any_library_is_a_number(epsilon):
    net, x = Linear(), torch.full((1, 10), 0.5)
    assert torch.equal(
        adversarial.fgsm(net, x, 0, epsilon, anyway=True), adversarial.fgsm(net, x, 0, 0.25, anyway=True)
    )


def test_the_largest_radii_are_allowed():
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.full((1, 3, 2, 2), 0.5)
    for norm, most in (("linf", 1), ("l2", 12**0.5)):
        assert adversarial.pgd(net, x, 0, most, 1, norm=norm, anyway=True).shape == x.shape


def test_a_goal_that_many_images_have_reached_is_shown_for_ten(coursenet):
    x = torch.zeros(12, 3, 96, 96)
    guess = int(coursenet(x[:1]).argmax())
    with pytest.raises(ValueError, match=r"given to image 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\. 12 in all; leave"):
        adversarial.pgd(coursenet, x, guess, EPSILON, 1, targeted=True)


def test_ctrl_c_leaves_the_images_so_far():
    class Impatient(Linear):
        calls = 0

        def forward(self, x):
            Impatient.calls += 1
            if Impatient.calls == 4:  # the first one looks whether there is something to do
                raise KeyboardInterrupt
            return super().forward(x)

    x = torch.full((1, 10), 0.5)
    with pytest.raises(Interrupted) as stop:
        adversarial.pgd(Impatient(), x, 0, 0.2, 10, step_size=0.01, anyway=True)
    assert torch.allclose((stop.value.found.image - x).abs(), torch.tensor(0.02), atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.01, EPSILON, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("norm", adversarial.NORMS)
def test_a_projection_lands_in_the_ball_and_the_box_exactly(norm, epsilon, generator):
    start = torch.rand(4, 3, 50, 50, generator=generator)
    start[0] = start[0].round()  # black and white
    start[1] = (epsilon + 1e-7 * start[1]).clamp(max=1)  # a step from black
    ball = adversarial.Ball(start, epsilon, norm)
    with torch.no_grad():
        ball.pixels.add_(torch.randn(start.shape, generator=generator))
    ball.project()
    result = ball.exact()
    change = result - start
    assert float(result.min()) >= 0 and float(result.max()) <= 1
    if norm == "linf":
        assert bool((change.abs() <= epsilon).all()) and float(change.abs().max()) <= epsilon
        assert float((result.double() - start.double()).abs().max()) <= epsilon
        assert epsilon == 0 or float(change.abs().max()) > 0.9 * epsilon
    else:
        assert bool((change.flatten(1).norm(dim=1) <= epsilon).all())
        assert float(change.flatten(1).double().norm(dim=1).max()) <= epsilon


@pytest.mark.slow
@pytest.mark.parametrize("norm, epsilon", [("linf", EPSILON), ("l2", 1.5)])
def test_every_attack_stays_in_the_ball_and_fools(norm, epsilon, coursenet, seen):
    x, label = seen
    options = {"norm": norm, "random_start": True}
    for result in (
        adversarial.pgd(coursenet, x, label, epsilon, 10, **options),
        adversarial.pgd(coursenet, x, (label + 1) % 10, epsilon, 10, targeted=True, **options),
    ):
        change = (result - x).flatten(1)
        size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        assert bool((size <= epsilon).all())
        assert float(result.min()) >= 0 and float(result.max()) <= 1
        assert (coursenet(result).argmax(1) != label).float().mean() > 0.8


def test_a_random_start_is_the_seeds(coursenet, seen):
    x, label = seen[0][:2], seen[1][:2]
    first, again, other = (
        adversarial.pgd(coursenet, x, label, EPSILON, 2, random_start=True, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.slow
def test_several_small_steps_do_more_than_one_and_both_more_than_noise(coursenet, seen):
    x, label = seen

    def loss(images):
        return float(F.cross_entropy(coursenet(images), label))

    noise = (x + 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).sign()).clamp(0, 1)
    one = adversarial.fgsm(coursenet, x, label, 0.01)
    several = adversarial.pgd(coursenet, x, label, 0.01, 10)
    assert loss(several) > loss(one) > 10 * loss(noise)


def test_no_room_is_no_change(coursenet, seen):
    assert torch.equal(adversarial.fgsm(coursenet, *seen, 0.0), seen[0])


def test_a_network_in_training_is_left_as_it_was(coursenet, seen):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 96 * 96, 10))
    x = seen[0][:2].clone()
    adversarial.pgd(net, x, 0, 0.1, 2, anyway=True)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(x, seen[0][:2]) and not x.requires_grad


# ---------------------------------------------------------------- L-BFGS


def test_lbfgs_solves_a_problem_with_a_known_answer():
    # Two classes with scores 0 and w x - b: the smallest change that crosses the boundary is along w.
    w, b = torch.tensor([3.0, 4.0]), 4.0

    class Plane(nn.Module):
        def forward(self, x):
            score = 20 * (x @ w - b)
            return torch.stack([torch.zeros_like(score), score], 1)

    x = torch.tensor([[0.4, 0.3]])  # w x - b = -1.6, at a distance of 1.6 / 5 from the boundary
    change = adversarial.lbfgs(Plane(), x, 1, searches=16) - x
    assert torch.allclose(change, 1.6 / 25 * w, atol=2e-2)
    assert 0.32 <= float(change.norm()) < 0.36


class Slope(nn.Module):
    """Two classes with scores 0 and w x - b."""

    def __init__(self, w, b):
        super().__init__()
        self.w, self.b = w, b

    def forward(self, x):
        score = x @ self.w - self.b
        return torch.stack([torch.zeros_like(score), score], 1)


def test_lbfgs_minimises_its_objective():
    # along w, c |r|^2 - log softmax is a function of one number, which scipy minimises on its own
    w, c = torch.tensor([3.0, 4.0], dtype=torch.float64), 0.7
    net, x = Slope(w, 4.0), torch.tensor([[0.4, 0.3]], dtype=torch.float64)
    best = minimize_scalar(lambda t: c * 25 * t**2 + math.log1p(math.exp(1.6 - 25 * t)), bounds=(0, 1)).x
    change = adversarial.lbfgs(net, x, 1, weight=c, searches=1) - x
    assert torch.allclose(change[0], best * w, atol=1e-4)


def test_lbfgs_stays_in_the_box_of_each_image():
    # before, an image outside [0, 1] was clipped into it, which is no small change
    w = torch.tensor([3.0, 4.0])
    x = torch.tensor([[2.0, -3.0], [0.95, 0.0]])  # scores -10 and -1.15
    moved = adversarial.lbfgs(Slope(w, 4.0), x, 1, searches=6)
    assert torch.allclose((moved - x)[0], 10 / 25 * w, atol=0.1) and moved[1].max() <= 1
    assert torch.equal(moved[1:], adversarial.lbfgs(Slope(w, 4.0), x[1:], 1, searches=6))


def _searched(monkeypatch, largest, margin=1.0, **options):
    """The values of c that are tried where every c up to the largest fools by a margin, and the one returned."""
    tried = []

    def attempt(net, x, target, weight, steps):
        tried.append(weight)
        return torch.full_like(x, weight) if weight <= largest else torch.full_like(x, -weight)

    class Sign(nn.Module):
        def forward(self, x):
            return torch.stack([torch.zeros(len(x)), margin * x[:, 0].sign()], 1)

    monkeypatch.setattr(attacks, "_box_constrained", attempt)
    return tried, float(adversarial.lbfgs(Sign(), torch.tensor([[-0.5]]), 1, **options))


def test_lbfgs_brackets_the_largest_c_by_tens_and_halves_the_gap_of_the_logarithms(monkeypatch):
    tried, returned = _searched(monkeypatch, 30)
    assert tried == pytest.approx([1, 10, 100, 10**1.5, 10**1.25, 10**1.375, 10**1.4375, 10**1.46875])
    assert returned == pytest.approx(10**1.46875)
    tried, returned = _searched(monkeypatch, 0.002, weight=0.5, searches=5)
    assert tried == pytest.approx([0.5, 0.05, 0.005, 0.0005, 0.0005 * 10**0.5])
    assert returned == pytest.approx(0.0005 * 10**0.5)


def test_lbfgs_returns_the_last_attempt_where_none_fools_by_its_margin(monkeypatch):
    assert _searched(monkeypatch, 0, searches=3)[1] == pytest.approx(-0.01)
    tried, _ = _searched(monkeypatch, 30, margin=0.5 * attacks.MARGIN, searches=3)
    assert tried == pytest.approx([1, 0.1, 0.01])
    tried, _ = _searched(monkeypatch, 30, margin=2e-3, searches=3)
    assert tried == pytest.approx([1, 10, 100])


@pytest.mark.slow
def test_lbfgs_changes_less_than_pgd_and_reaches_the_target(coursenet, seen):
    x, label = seen[0][:1], seen[1][:1]
    target = (label + 3) % 10
    result = adversarial.lbfgs(coursenet, x, target, searches=4, steps=12)
    assert torch.equal(coursenet(result).argmax(1), target)
    assert float(result.min()) >= 0 and float(result.max()) <= 1
    pgd = adversarial.pgd(coursenet, x, target, EPSILON, targeted=True)
    assert (result - x).norm() < 0.5 * (pgd - x).norm()


# ---------------------------------------------------------------- fooling images


@pytest.mark.slow
def test_fooling_by_ascent_is_confident(coursenet):
    targets = torch.tensor([1, 4, 8])
    images = adversarial.fooling_image(coursenet, targets, steps=60)
    assert images.shape == (3, 3, 96, 96) and 0 <= float(images.min()) and float(images.max()) <= 1
    assert coursenet(images).softmax(1)[range(3), targets].min() >= 0.996


@pytest.mark.slow
@pytest.mark.parametrize("method", ["evolution", "cppn"])
def test_fooling_by_evolution_is_confident(method, coursenet):
    image = adversarial.fooling_image(coursenet, FOOLED[method], method=method)
    assert image.shape == (1, 3, 96, 96) and 0 <= float(image.min()) and float(image.max()) <= 1
    assert coursenet(image).softmax(1)[0, FOOLED[method]] >= 0.996


FOOLED = {"evolution": 0, "cppn": 0}


@pytest.mark.slow
@pytest.mark.parametrize("method", list(adversarial.METHODS))
def test_one_seed_gives_one_fooling_image(method, coursenet):
    first, again = (adversarial.fooling_image(coursenet, 2, method=method, steps=3, seed=5) for _ in range(2))
    assert torch.equal(first, again)


def test_a_plain_module_is_asked_to_be_wrapped_before_it_is_fooled():
    with pytest.raises(TypeError, match="got Linear; wrap it in models.Network"):
        adversarial.fooling_image(nn.Linear(3, 2), 0)


@pytest.mark.parametrize("method", ["evolution", "cppn"])
def test_no_confidence_ends_evolution_at_once(method, coursenet):
    image = adversarial.fooling_image(coursenet, 2, method=method, confidence=0, steps=5)
    assert image.shape == (1, 3, 96, 96)


# ---------------------------------------------------------------- what must be shown


@pytest.mark.slow
def test_targeted_pgd_nearly_always_reaches_its_target_on_scenes(coursenet):
    scenes = world.draw(40, seed=4321)
    shift = torch.randint(1, 10, (40,), generator=torch.Generator().manual_seed(0))
    target = (coursenet(scenes.images).argmax(1) + shift) % 10
    result = adversarial.pgd(coursenet, scenes.images, target, EPSILON, 20, targeted=True)
    assert bool(((result - scenes.images).abs() <= EPSILON).all())
    assert float(result.min()) >= 0 and float(result.max()) <= 1
    assert (coursenet(result).argmax(1) == target).float().mean() >= 0.95


@pytest.mark.slow
@pytest.mark.skipif(not models.cached_file("squeezenet1_0").exists(), reason="SqueezeNet's weights are not here")
@pytest.mark.skipif(not Path(FOLDER).is_dir() or not FOLDER, reason="COURSE_PHOTOGRAPHS names no folder of photographs")
def test_targeted_pgd_nearly_always_reaches_its_target_on_photographs(squeezenet):
    # Here a sample of 24, for time; all 200 with COURSE_ALL_PHOTOGRAPHS=1
    files = data.folder(FOLDER)
    if not os.environ.get("COURSE_ALL_PHOTOGRAPHS"):
        files = random.Random(0).sample(files, 24)
    generator = torch.Generator().manual_seed(0)
    reached = []
    for start in range(0, len(files), 8):
        x = torch.cat([data.read(file) for file in files[start : start + 8]])
        shift = torch.randint(1, 1000, (len(x),), generator=generator)
        target = (squeezenet(x).argmax(1) + shift) % 1000
        result = adversarial.pgd(squeezenet, x, target, EPSILON, 20, targeted=True)
        assert bool(((result - x).abs() <= EPSILON).all())
        assert float(result.min()) >= 0 and float(result.max()) <= 1
        reached.append(squeezenet(result).argmax(1) == target)
    assert torch.cat(reached).float().mean() >= 0.95


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epsilon": -0.1}, ValueError, r"epsilon for linf is in \[0, 1\], got -0.1"),
        ({"epsilon": 8}, ValueError, r"epsilon for linf is in \[0, 1\], got 8"),
        ({"epsilon": float("nan")}, ValueError, "got nan"),
        ({"epsilon": True}, TypeError, "epsilon for linf is a number, got True"),
        ({"epsilon": "0.1"}, TypeError, "epsilon for linf is a number, got '0.1'"),
        ({"epsilon": None}, TypeError, "epsilon for linf is a number, got None"),
        ({"epsilon": 1.001}, ValueError, r"epsilon for linf is in \[0, 1\], got 1.001"),
        ({"epsilon": 166.3, "norm": "l2"}, ValueError, r"epsilon for l2 is in \[0, 166.277\], got 166.3"),
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"steps": 2.0}, TypeError, "steps is a whole number, got 2.0"),
        ({"steps": True}, TypeError, "steps is a whole number, got True"),
        ({"steps": float("nan")}, TypeError, "steps is a whole number, got nan"),
        ({"step_size": -1.0}, ValueError, "step_size must be at least 0, got -1"),
        ({"step_size": float("nan")}, ValueError, "step_size must be at least 0, got nan"),
        ({"step_size": float("inf")}, ValueError, "step_size must be at least 0, got inf"),
        ({"step_size": "1"}, TypeError, "step_size is a number, got '1'"),
        ({"norm": "l1"}, ValueError, "no norm 'l1'.* choose from linf, l2"),
        ({"label": 10}, ValueError, "no class of the output with number 10: they go from 0 to 9"),
        ({"label": torch.tensor([0, 1, 2])}, ValueError, "one label for all, or one for each of 8 images; got 3"),
        ({"label": -1}, ValueError, "no class of the output with number -1"),
        ({"label": 0.5}, TypeError, "whole number"),
        ({"label": float("nan")}, TypeError, "whole number"),
        ({"label": True}, TypeError, "whole number"),
        ({"label": [[0, 1]]}, ValueError, "one int, or a list of them"),
        ({"label": "stars"}, ValueError, "no class of coursenet 'stars'.*star"),
        ({"x": torch.full((1, 3, 96, 96), 2.0)}, ValueError, r"lie in \[0, 1\]"),
        ({"x": torch.zeros(0, 3, 96, 96)}, ValueError, "no images"),
        ({"x": torch.zeros(1, 3, 96, 96, dtype=torch.uint8)}, TypeError, "float"),
        ({"x": torch.zeros(1, 3, 96, 96, dtype=torch.double)}, TypeError, "computes in torch.float32"),
    ],
)
def test_bad_input_is_refused(change, error, message, coursenet, seen):
    arguments = {"x": seen[0], "label": seen[1], "epsilon": EPSILON, "steps": 1} | change
    with pytest.raises(error, match=message):
        adversarial.pgd(coursenet, **arguments)


def test_attacks_that_have_nothing_to_do_are_refused_by_number(coursenet, seen):
    x, label = seen
    wrong = label.clone()
    wrong[[2, 5]] = (wrong[[2, 5]] + 1) % 10
    with pytest.raises(ValueError, match="already gets wrong image 2, 5; leave them out, or pass anyway=True"):
        adversarial.fgsm(coursenet, x, wrong, EPSILON)
    target = (label + 1) % 10
    target[3] = label[3]
    with pytest.raises(ValueError, match="target is the class already given to image 3;"):
        adversarial.pgd(coursenet, x, target, EPSILON, 1, targeted=True)
    with pytest.raises(ValueError, match="target is the class already given to image 0"):
        adversarial.lbfgs(coursenet, x[:1], label[:1])
    assert adversarial.fgsm(coursenet, x, wrong, EPSILON, anyway=True).shape == x.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "no method 'magic'.*choose from ascent, evolution, cppn, pattern"),
        ({"target": 10}, "no class of coursenet with number 10"),
        ({"target": -1}, "number -1"),
        ({"target": "stars"}, "no class of coursenet 'stars'.*star"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"confidence": 1.0}, "confidence is in"),
        ({"confidence": -0.1}, "confidence is in"),
        ({"confidence": float("nan")}, "confidence is in"),
    ],
)
def test_bad_wishes_for_a_fooling_image_are_refused(change, message, coursenet):
    with pytest.raises(ValueError, match=message):
        adversarial.fooling_image(coursenet, **{"target": 1} | change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weight": 0.0}, ValueError, "weight must be above 0, got 0"),
        ({"weight": float("nan")}, ValueError, "weight must be above 0, got nan"),
        ({"weight": "1"}, TypeError, "weight is a number, got '1'"),
        ({"searches": 0}, ValueError, "searches must be at least 1, got 0"),
        ({"searches": 1.5}, TypeError, "searches is a whole number, got 1.5"),
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
    ],
)
def test_bad_searches_are_refused(change, error, message, coursenet, seen):
    with pytest.raises(error, match=message):
        adversarial.lbfgs(coursenet, seen[0][:1], (seen[1][:1] + 1) % 10, **change)


# ---------------------------------------------------------------- the front door

NAMES = ("zero", "one", "two", "three", "four")
X = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(4))
LABELS = [1, 3]


class Learner(nn.Module):
    """A small classifier whose modes matter. It gives every image class 0."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.drop, self.head = nn.Dropout(0.5), nn.Linear(4, 5)
        with torch.no_grad():
            self.norm.running_mean.fill_(0.3)
            self.head.bias[0] += 2
        self.eval()

    def forward(self, x):
        return self.head(self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))


def network():
    return models.Network(
        Learner(), name="learner", classes=NAMES, image_size=12, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4]
    )


def _evolved(net, label, x):
    draws = torch.Generator().manual_seed(2)
    return adversarial.evolve(net, label, x.float(), lambda x_: x_.to(x.dtype), mutate_pixels, 0.99, 3, draws)


OF_IMAGES = {
    "fgsm": lambda net, label, x: adversarial.fgsm(net, x, label, 0.1, anyway=True),
    "pgd": lambda net, label, x: adversarial.pgd(net, x, label, 0.1, 3, anyway=True, random_start=True),
    "targeted pgd": lambda net, label, x: adversarial.pgd(net, x, label, 1.0, 3, targeted=True, norm="l2"),
    "lbfgs": lambda net, label, x: adversarial.lbfgs(net, x, label, weight=0.01, searches=2, steps=3),
    "evolve": _evolved,
}
FROM_NOTHING = {
    method: lambda net, label, x, method=method: adversarial.fooling_image(net, label, method=method, steps=3)
    for method in adversarial.METHODS
}
CALLS = OF_IMAGES | FROM_NOTHING


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


@pytest.fixture(params=OF_IMAGES)
def call_of_images(request):
    return OF_IMAGES[request.param]


@pytest.mark.slow
@pytest.mark.parametrize(
    "label",
    [
        tuple(LABELS),
        np.array(LABELS),
        np.array(LABELS, dtype=np.uint8),
        torch.tensor(LABELS),
        torch.tensor(LABELS, dtype=torch.int32),
        ["one", "three"],
        ("one", "three"),
        np.array(["one", "three"]),
        ["one", 3],
    ],
    ids=repr,
)
def test_labels_of_every_form_mean_the_same(call, label):
    net = network()
    assert torch.equal(call(net, label, X), call(net, LABELS, X))


@pytest.mark.slow
@pytest.mark.parametrize(
    "label", ["one", np.int64(1), np.int32(1), torch.tensor(1), torch.tensor(1, dtype=torch.uint8)]
)
def test_one_label_of_every_form_means_the_same(call, label):
    net = network()
    assert torch.equal(call(net, label, X), call(net, 1, X))


def test_one_label_is_that_label_for_every_image(call_of_images):
    net = network()
    assert torch.equal(call_of_images(net, 1, X), call_of_images(net, [1, 1], X))


@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        (5, ValueError, "class of .* with number 5: they go from 0 to 4"),
        ([1, -1], ValueError, "class of .* with number -1: they go from 0 to 4"),
        ([1.0, 3.0], TypeError, "whole number"),
        (math.nan, TypeError, "whole number"),
        (True, TypeError, "whole number"),
        (None, TypeError, "whole number"),
        ("thre", ValueError, r"no class of learner 'thre' \(did you mean 'three'"),
        ([[1, 3]], ValueError, "one int, or a list of them"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(call, label, error, message):
    with pytest.raises(error, match=message):
        call(network(), label, X)


def test_another_number_of_labels_is_refused(call_of_images):
    with pytest.raises(ValueError, match="one label for all, or one for each of 2 images; got 3"):
        call_of_images(network(), [1, 3, 1], X)


def test_a_name_for_a_network_without_names_is_refused(call_of_images):
    with pytest.raises(TypeError, match="the label is 'one', but the network has no class names"):
        call_of_images(Learner(), "one", X)


def _training(net):
    for module in net.modules():
        module.training = True
    return net


def test_a_network_in_training_is_evaluated_and_left_as_it_was(call):
    net = _training(network())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert torch.equal(call(net, LABELS, X), call(network(), LABELS, X))
    with pytest.raises(ValueError):
        call(net, 5, X)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same(call, context):
    net = network()
    with context():
        got = call(net, LABELS, X + 0)  # made here
    expected = call(net, LABELS, X)
    assert torch.equal(got, expected) and not got.requires_grad and not got.is_inference()


def test_a_network_made_in_inference_mode_is_refused(call):
    with torch.inference_mode():
        net = network()
    with pytest.raises(ValueError, match="made under torch.inference_mode"):
        call(net, LABELS, X)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_a_wrapped_network_gives_the_same(call, wrap):
    net = network()
    assert torch.equal(call(wrap(net), ["one", "three"], X), call(net, LABELS, X))


@dataclass
class Output:
    hidden: torch.Tensor
    logits: torch.Tensor


@pytest.mark.parametrize(
    "form",
    [lambda z: (z, z * 2), lambda z: {"aux": z * 2, "logits": z}, lambda z: Output(z * 2, z), lambda z: [None, z]],
)
def test_scores_are_found_in_whatever_the_network_outputs(call_of_images, form):
    net = Learner()
    net.register_forward_hook(lambda module, arguments, output: form(output))
    assert torch.equal(call_of_images(net, LABELS, X), call_of_images(Learner(), LABELS, X))


def test_what_outputs_no_scores_is_refused(call_of_images):
    with pytest.raises(ValueError, match=r"a classifier outputs \(n, classes\), but this network \(2, 4, 10, 10\)"):
        call_of_images(nn.Conv2d(3, 4, 3), LABELS, X)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_any_precision_is_fooled_in_it(call, dtype):
    got = call(network().to(dtype), LABELS, X.to(dtype))
    assert got.dtype == dtype and bool(got.isfinite().all()) and 0 <= got.min() and got.max() <= 1
    if dtype == torch.float64:
        assert (got - call(network(), LABELS, X)).abs().max() < 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ascent_gets_through_in_half_precision(dtype):
    image, exact = (adversarial.fooling_image(network().to(each), 1, steps=60) for each in (dtype, torch.float32))
    assert (image.float() - exact).abs().mean() < 0.02 and exact.std() > 0.3


@pytest.mark.slow
def test_six_threads_fool_one_network_as_one_does(call):
    net = _training(network())
    expected, found = call(net, LABELS, X), {}

    def work(i):
        found[i] = [call(net, LABELS, X) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all(torch.equal(one, expected) for each in found.values() for one in each)
    assert all(module.training for module in net.modules())


def test_gradients_flags_hooks_and_arguments_stay_as_they_were(call):
    net, x, labels = network(), X.clone().requires_grad_(), torch.tensor(LABELS)
    for number, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(number % 2 == 0)
        parameter.grad = torch.full_like(parameter, 7.0)
    x.grad = torch.full_like(x, 7.0)
    seen = []
    net.conv.register_forward_hook(lambda module, arguments, output: seen.append(module.training))
    call(net, labels, x)
    assert seen and not any(seen)
    assert [p.requires_grad for p in net.parameters()] == [i % 2 == 0 for i in range(len(list(net.parameters())))]
    assert all(bool((p.grad == 7).all()) for p in net.parameters())
    assert bool((x.grad == 7).all()) and torch.equal(x, X) and labels.tolist() == LABELS
    assert [len(module._forward_hooks) for module in net.modules()].count(0) == len(list(net.modules())) - 1
