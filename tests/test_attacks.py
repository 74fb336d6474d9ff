import pytest
import torch
import torchattacks
from scipy.stats import binomtest, norm
from torch import nn

from course_lib import adversarial, models, world
from course_lib.adversarial.apgd import LOSSES, _towards, checkpoints
from course_lib.adversarial.smoothing import _radius

EPSILON = 4 / 255


@pytest.fixture(scope="module")
def robust():
    return models.load("coursenet", weights="robust")


@pytest.fixture(scope="module")
def scenes():
    """200 fresh scenes, right or wrong."""
    return world.draw(200, seed=7000)


class Times(nn.Module):
    """The same classes, and a gradient of the cross-entropy that is exactly zero."""

    def __init__(self, net, factor=1000):
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x):
        return self.factor * self.net(x)


class Flat(nn.Module):
    """Three numbers of an image are its scores."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return (x - 0.5).flatten(1) @ self.weight.T


def held(net, x, y):
    with torch.no_grad():
        return net(x).argmax(1) == y


def linear(classes=5, side=6, seed=3):
    generator = torch.Generator().manual_seed(seed)
    net = Flat(torch.randn(classes, 3 * side**2, generator=generator))
    x = 0.2 + 0.6 * torch.rand(20, 3, side, side, generator=generator)
    return net.requires_grad_(False), x, net(x).argmax(1)


# ---------------------------------------------------------------- against others


@pytest.mark.slow
@pytest.mark.parametrize("steps", [10])
def test_apgd_leaves_as_many_right_as_torchattacks(robust, scenes, steps):
    x, y = scenes.images, scenes.labels
    found = adversarial.apgd(robust, x, y, EPSILON, steps, anyway=True)
    expected = torchattacks.APGD(robust, eps=EPSILON, steps=steps, loss="ce")(x, y)
    ours, theirs = (held(robust, moved, y).float().mean() for moved in (found, expected))
    assert abs(ours - theirs) <= 0.01 and 0.4 < ours < 0.75


@pytest.mark.slow
def test_apgd_t_leaves_as_many_right_as_torchattacks(robust, scenes):
    x, y = scenes.images, scenes.labels
    found = adversarial.apgd_t(robust, x, y, EPSILON, 10, targets=3, anyway=True)
    expected = torchattacks.APGDT(robust, eps=EPSILON, steps=10, n_classes=4)(x, y)
    ours, theirs = (held(robust, moved, y).float().mean() for moved in (found, expected))
    assert abs(ours - theirs) <= 0.01 and 0.4 < ours < 0.75


class Replayed(torchattacks.Square):
    """Torchattacks' search with the draws of ours, and the stripes counted as the first of all queries."""

    def __init__(self, net, epsilon, queries):
        super().__init__(net, eps=epsilon, n_queries=queries - 1)
        self.generator = torch.Generator().manual_seed(0)

    def random_choice(self, shape):
        return 2.0 * torch.randint(2, shape[-3:], generator=self.generator) - 1

    def random_int(self, low=0, high=1):
        return torch.randint(low, high + 1, (), generator=self.generator)

    def p_selection(self, it):
        queries, self.n_queries = self.n_queries, self.n_queries + 1
        area = super().p_selection(it + 1)
        self.n_queries = queries
        return area

    def forward(self, x, y):
        self.init_hyperparam(x)
        return self.attack_single_run(x, y)[1]


@pytest.mark.slow
def test_square_is_torchattacks_with_the_same_draws(robust, scenes):
    # with its own draws, either leaves another share right each time: only the same ones can be held to a point
    right = held(robust, scenes.images, scenes.labels)
    x, y, epsilon, queries = scenes.images[right], scenes.labels[right], 24 / 255, 20
    found = adversarial.square(robust, x, y, epsilon, queries)
    expected = Replayed(robust, epsilon, queries)(x, y)
    ours, theirs = (held(robust, moved, y).float().mean() for moved in (found, expected))
    assert abs(ours - theirs) <= 0.01 and ours < 0.9
    same = (found - expected).abs().amax((1, 2, 3)) < 1e-5  # rounding in another batch may break a tie of two scores
    assert same.float().mean() > 0.9


@pytest.mark.parametrize("steps", [1, 10, 50, 100])
def test_the_checkpoints_are_those_of_torchattacks(steps):
    """Read off its loop: k counts down from 22 % of the steps by 3 %, to 6 %."""
    k, counter, expected = max(int(0.22 * steps), 1), 0, []
    for step in range(steps):
        counter += 1
        if counter == k:
            expected.append(step + 1)
            counter, k = 0, max(k - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    assert checkpoints(steps) == expected


def test_the_lower_bound_is_clopper_and_pearsons():
    for won in (60, 90, 100):
        low = binomtest(won, 100).proportion_ci(1 - 2 * 0.01, method="exact").low
        assert _radius(won, 100, 0.5, 0.01) == pytest.approx(max(0.0, 0.5 * norm.ppf(low)), rel=1e-9)
    assert _radius(0, 100, 0.5, 0.01) == 0


# ---------------------------------------------------------------- linear networks, where the best attack is known


@pytest.mark.parametrize(("attack", "classes"), [(adversarial.apgd, 2), (adversarial.apgd_t, 5)])
def test_a_linear_network_falls_exactly_beyond_its_margin(attack, classes):
    # the least epsilon is min over i of (z_y - z_i) / |w_y - w_i|_1, far from the border of [0, 1]
    net, x, y = linear(classes)
    gaps = net(x).gather(1, y[:, None]) - net(x)
    ways = (net.weight[y][:, None] - net.weight[None]).abs().sum(2)
    least = (gaps / ways.masked_fill(ways == 0, torch.nan)).nan_to_num(torch.inf).amin(1)
    for i in range(6):
        for factor, falls in ((0.98, False), (1.02, True)):
            moved = attack(net, x[i : i + 1], y[i : i + 1], factor * float(least[i]), 20)
            assert bool(held(net, moved, y[i : i + 1])) != falls


def test_the_difference_of_logits_ratio_by_hand():
    z, y = torch.tensor([[4.0, 1, 3, 0, 2]]), torch.tensor([0])
    value, _ = LOSSES["logits ratio"]
    assert torch.allclose(value(z, y), torch.tensor([-(4 - 3) / (4 - 2)]))
    assert torch.allclose(value(10 * z + 3, y), value(z, y))  # neither scale nor shift changes it
    towards = _towards(torch.tensor([1]))
    assert torch.allclose(towards(z, y), torch.tensor([-(4 - 1) / (4 - (2 + 1) / 2)]))


def test_a_patch_on_a_linear_network_is_white_where_the_weight_is_above_the_others():
    net, x, _ = linear(classes=2)
    difference = (net.weight[1] - net.weight[0]).view(1, 3, 6, 6)[:, :, 1:4, 2:5]
    found = adversarial.patch(net, x, 1, 3, at=(1, 2), steps=60)
    clear = difference.abs() > 0.2
    assert torch.allclose(found[clear], (difference > 0).float()[clear], atol=0.05)


def test_a_certificate_of_a_linear_network_is_its_distance_and_never_more():
    net, x, y = linear(classes=2)
    way = net.weight[1] - net.weight[0]
    distance = (net(x)[:, 1] - net(x)[:, 0]).abs() / way.norm()
    sigma = float(distance.median())
    found = adversarial.certify(net, x, sigma, n0=20, n=4000, alpha=0.001)
    sure = found.label != adversarial.ABSTAIN
    assert bool((found.label[sure] == y[sure]).all()) and bool((found.radius <= distance).all())
    reach = distance < 2 * sigma  # further away, 4000 votes cannot tell
    assert bool((found.radius[reach & sure] > distance[reach & sure] - 0.15 * sigma).all()) and reach.sum() > 10
    assert sure.sum() > 10


# ---------------------------------------------------------------- what they are for


def test_a_masked_gradient_stops_pgd_and_neither_the_ratio_nor_the_squares(coursenet, scenes):
    masked, x, y = Times(coursenet), scenes.images[:8], scenes.labels[:8]
    options = {"anyway": True}
    assert held(masked, adversarial.pgd(masked, x, y, 8 / 255, 10, random_start=True, **options), y).all()
    assert not held(masked, adversarial.apgd(masked, x, y, 8 / 255, 10, loss="logits ratio", **options), y).any()
    assert not held(masked, adversarial.apgd_t(masked, x, y, 8 / 255, 10, targets=2, **options), y).any()
    assert held(masked, adversarial.square(masked, x, y, 16 / 255, 40, **options), y).sum() <= 6


def test_squares_need_no_gradient_and_paint_each_image_as_if_alone(coursenet, scenes):
    class Deaf(nn.Module):
        def forward(self, x):
            return coursenet(x).detach().round(decimals=2)

    x, y = scenes.images[:3], scenes.labels[:3]
    together = adversarial.square(Deaf(), x, y, 8 / 255, 6, anyway=True)
    alone = [adversarial.square(Deaf(), x[i : i + 1], y[i : i + 1], 8 / 255, 6, anyway=True) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone))


@pytest.mark.parametrize("attack", [adversarial.apgd, adversarial.apgd_t, adversarial.square])
def test_the_ball_and_the_box_hold_exactly_and_a_seed_repeats(attack, coursenet, scenes):
    x, y = scenes.images[:3], scenes.labels[:3]
    found = attack(coursenet, x, y, 2 / 255, 4, anyway=True, seed=5)
    assert bool(((found.double() - x.double()).abs() <= 2 / 255).all()) and 0 <= found.min() and found.max() <= 1
    assert torch.equal(found, attack(coursenet, x, y, 2 / 255, 4, anyway=True, seed=5))


def test_apgd_in_l2_stays_in_its_ball(coursenet, scenes):
    x, y = scenes.images[:3], scenes.labels[:3]
    found = adversarial.apgd(coursenet, x, y, 1.0, 6, norm="l2", anyway=True)
    assert bool(((found - x).flatten(1).norm(dim=1) <= 1).all()) and not held(coursenet, found, y).all()


@pytest.mark.slow
def test_a_patch_fools_wherever_it_is_put(coursenet):
    x = world.draw(32, seed=71).images
    star, generator = coursenet.index("star"), torch.Generator().manual_seed(2)
    found = adversarial.patch(coursenet, x[:16], star, 28, steps=80)
    places = [adversarial.random_place(x, 28, generator) for _ in range(4)]
    fooled = torch.cat([held(coursenet, adversarial.paste(x[16:], found, at), star) for at in places])
    grey = torch.full_like(found, 0.5)
    before = torch.cat([held(coursenet, adversarial.paste(x[16:], grey, at), star) for at in places])
    assert fooled.float().mean() > before.float().mean() + 0.3


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: adversarial.apgd(net, x, 1, 0.1, loss="hinge"), "no loss 'hinge'.*choose from cross-entropy"),
        (lambda net, x: adversarial.apgd(net, x, 1, 0.1, 0), "steps must be at least 1, got 0"),
        (lambda net, x: adversarial.apgd(net, x, 1, 2.0), r"epsilon for linf is in \[0, 1\], got 2"),
        (lambda net, x: adversarial.apgd(net, x, 1, 0.1, norm="l1"), "no norm 'l1'"),
        (lambda net, x: adversarial.apgd(net, x, 1, 0.1, loss="logits ratio"), "needs 3 classes or more"),
        (lambda net, x: adversarial.apgd_t(net, x, 1, 0.1), "needs 4 classes or more, the network has 2"),
        (lambda net, x: adversarial.apgd_t(net, x, 1, 0.1, targets=0), "targets must be at least 1"),
        (lambda net, x: adversarial.square(net, x, 1, 0.1, 0), "queries must be at least 1"),
        (lambda net, x: adversarial.square(net, x, 1, 0.1, area=0), "area must be above 0|area is"),
        (lambda net, x: adversarial.square(net, x, 2, 0.1), "class of the output with number 2"),
        (lambda net, x: adversarial.patch(net, x, 1, 7), "side must be at most 6, .* got 7"),
        (lambda net, x: adversarial.patch(net, x, 1, 3, at=(4, 0)), "3 x 3 at 4, 0 is not inside"),
        (lambda net, x: adversarial.patch(net, x, 2, 3), "class of the output with number 2"),
        (lambda net, x: adversarial.paste(x, x[:2], (0, 0)), r"a square is \(1, 3, side, side\)"),
        (lambda net, x: adversarial.certify(net, x, 0.0), "sigma must be above 0"),
        (lambda net, x: adversarial.certify(net, x, 0.1, alpha=1.0), r"alpha is in \(0, 1\), got 1"),
        (lambda net, x: adversarial.certify(net, x, 0.1, n=0), "n must be at least 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    net, x, _ = linear(classes=2)
    with pytest.raises(ValueError, match=message):
        call(net, x)


def test_what_is_wrong_already_is_refused(coursenet, scenes):
    wrong = (scenes.labels[:2] + 1) % 10
    for attack in (adversarial.apgd, adversarial.apgd_t, adversarial.square):
        with pytest.raises(ValueError, match="already gets wrong image 0, 1"):
            attack(coursenet, scenes.images[:2], wrong, EPSILON)


# ---------------------------------------------------------------- patterns


def test_a_pattern_fools_and_is_the_same_among_others(coursenet):
    names = ["star", "ring"]
    found = adversarial.fooling_image(coursenet, names, method="pattern", steps=40)
    with torch.no_grad():
        sure = coursenet(found).softmax(1)[range(2), [coursenet.index(name) for name in names]]
    assert bool((sure > 0.95).all()) and found.shape == (2, 3, 96, 96) and 0 <= found.min() and found.max() <= 1
    first, both = adversarial.Pattern(9, seed=4)(), adversarial.Pattern(9, n=2, seed=4)()
    assert torch.allclose(first, both[:1]) and both.shape == (2, 3, 9, 9) and not torch.allclose(both[0], both[1])


@pytest.mark.parametrize(("side", "n"), [(1, 1), (8, 0)])
def test_a_pattern_of_no_size_is_refused(side, n):
    with pytest.raises(ValueError, match="must be at least"):
        adversarial.Pattern(side, n)
