import os
import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from torch import nn

from course_lib import adversarial, data, models, world
from course_lib.energy import activation

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
    # where p = 1 - 1e-12, the slope is 1e-12 of the usual one: the steps keep their length
    steep = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    with torch.no_grad():
        steep[1].weight.copy_(torch.tensor([[4.0] * 12, [-4.0] * 12]))
    x = torch.full((1, 3, 2, 2), 0.3)
    assert torch.allclose((adversarial.pgd(steep, x, 0, 0.1, 1, norm="l2") - x).norm(), torch.tensor(0.1), atol=1e-5)


# ---------------------------------------------------------------- the ball and the box


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


def test_several_small_steps_do_more_than_one_and_both_more_than_noise(coursenet, seen):
    x, label = seen

    def loss(pictures):
        return float(F.cross_entropy(coursenet(pictures), label))

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


def test_lbfgs_changes_less_than_pgd_and_reaches_the_target(coursenet, seen):
    x, label = seen[0][:1], seen[1][:1]
    target = (label + 3) % 10
    result = adversarial.lbfgs(coursenet, x, target, searches=4, steps=12)
    assert torch.equal(coursenet(result).argmax(1), target)
    assert float(result.min()) >= 0 and float(result.max()) <= 1
    pgd = adversarial.pgd(coursenet, x, target, EPSILON, targeted=True)
    assert (result - x).norm() < 0.5 * (pgd - x).norm()


# ---------------------------------------------------------------- fooling images


def test_fooling_by_ascent_is_confident(coursenet):
    targets = torch.tensor([1, 4, 8])
    pictures = adversarial.fooling_image(coursenet, targets, steps=60)
    assert pictures.shape == (3, 3, 96, 96) and 0 <= float(pictures.min()) and float(pictures.max()) <= 1
    assert coursenet(pictures).softmax(1)[range(3), targets].min() >= 0.996


@pytest.mark.parametrize("method", ["evolution", "cppn"])
def test_fooling_by_evolution_is_confident(method, coursenet):
    picture = adversarial.fooling_image(coursenet, FOOLED[method], method=method)
    assert picture.shape == (1, 3, 96, 96) and 0 <= float(picture.min()) and float(picture.max()) <= 1
    assert coursenet(picture).softmax(1)[0, FOOLED[method]] >= 0.996


FOOLED = {"evolution": 0, "cppn": 0}


@pytest.mark.parametrize("method", list(adversarial.METHODS))
def test_one_seed_gives_one_fooling_image(method, coursenet):
    first, again = (adversarial.fooling_image(coursenet, 2, method=method, steps=3, seed=5) for _ in range(2))
    assert torch.equal(first, again)


# ---------------------------------------------------------------- what must be shown


def test_targeted_pgd_nearly_always_reaches_its_target_on_scenes(coursenet):
    scenes = world.draw(40, seed=4321)
    shift = torch.randint(1, 10, (40,), generator=torch.Generator().manual_seed(0))
    target = (coursenet(scenes.images).argmax(1) + shift) % 10
    result = adversarial.pgd(coursenet, scenes.images, target, EPSILON, 20, targeted=True)
    assert bool(((result - scenes.images).abs() <= EPSILON).all())
    assert float(result.min()) >= 0 and float(result.max()) <= 1
    assert (coursenet(result).argmax(1) == target).float().mean() >= 0.95


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
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"step_size": -1.0}, ValueError, "step_size must be at least 0"),
        ({"norm": "l1"}, ValueError, "no norm 'l1'.* choose from linf, l2"),
        ({"label": 10}, ValueError, "no class of the output with number 10: they go from 0 to 9"),
        ({"label": torch.tensor([0, 1, 2])}, ValueError, "one label for all, or one for each of 8 images; got 3"),
        ({"label": 0.5}, TypeError, "whole number"),
        ({"x": torch.full((1, 3, 96, 96), 2.0)}, ValueError, r"lie in \[0, 1\]"),
        ({"x": torch.zeros(0, 3, 96, 96)}, ValueError, "no images"),
        ({"x": torch.zeros(1, 3, 96, 96, dtype=torch.uint8)}, TypeError, "float"),
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
        ({"method": "magic"}, "no method 'magic'.*choose from ascent, evolution, cppn"),
        ({"target": 10}, "no class of coursenet with number 10"),
        ({"target": -1}, "number -1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"confidence": 1.0}, "confidence is in"),
    ],
)
def test_bad_wishes_for_a_fooling_image_are_refused(change, message, coursenet):
    with pytest.raises(ValueError, match=message):
        adversarial.fooling_image(coursenet, **{"target": 1} | change)


@pytest.mark.parametrize("change", [{"weight": 0.0}, {"searches": 0}, {"steps": 0}])
def test_bad_searches_are_refused(change, coursenet, seen):
    with pytest.raises(ValueError, match="must be"):
        adversarial.lbfgs(coursenet, seen[0][:1], (seen[1][:1] + 1) % 10, **change)
