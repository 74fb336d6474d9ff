"""Steps that torch.optim does not have, against their formulas worked by hand."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from course_lib import optimizers
from course_lib.energy import Energy, cross_entropy
from course_lib.images import Pixels
from course_lib.preimage import minimize


def test_the_steepest_step_of_each_norm():
    gradient = torch.tensor([[1.0, -2]])
    assert (optimizers.steepest(gradient, "linf") * gradient).sum() == 3
    unit = gradient / 5**0.5
    assert torch.isclose((optimizers.steepest(unit, "l2") * unit).sum(), torch.tensor(1.0))
    assert torch.allclose(optimizers.steepest(gradient, "mean"), gradient / 1.5)
    for norm in ("linf", "l2", "mean"):
        assert torch.equal(optimizers.steepest(torch.zeros(2, 3), norm), torch.zeros(2, 3))


def test_each_image_of_a_batch_steps_as_it_would_alone(generator):
    gradient = torch.randn(3, 3, 4, 4, generator=generator) * torch.tensor([1.0, 100, 1e-6])[:, None, None, None]
    for norm in ("linf", "l2", "mean"):
        together = optimizers.steepest(gradient, norm)
        alone = torch.cat([optimizers.steepest(one, norm) for one in gradient.split(1)])
        assert torch.allclose(together, alone)


def test_forgetful_adagrad_follows_its_formula():
    x, squares, velocity = 0.5, 0.0, 0.0  # by hand, in double precision, on E = x^2 / 2
    parameter = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    engine = optimizers.ForgetfulAdaGrad([parameter], lr=0.1)

    def closure():
        engine.zero_grad()
        loss = parameter.square().sum() / 2
        loss.backward()
        return loss

    for _ in range(20):
        squares = 0.9 * squares + x * x
        velocity = 0.9 * velocity - x / (10 + math.sqrt(squares))
        x += velocity
        engine.step(closure)
        assert math.isclose(parameter.item(), x, rel_tol=1e-12)


def test_the_loop_descends_with_them():
    goal = torch.full((1, 3, 4, 4), 0.3)
    energy = Energy.of("to the goal", lambda activations, image: (image - goal).square().sum())
    walks = [
        partial(optimizers.ForgetfulAdaGrad, lr=0.1),
        *(partial(optimizers.Steepest, step=0.02, norm=norm) for norm in ("linf", "l2", "mean")),
    ]
    for walk in walks:
        found = minimize(torch.nn.Identity(), energy, Pixels(goal + 0.2), optimizer=walk, steps=80)
        assert found.total[-1] < 0.05 * found.total[0]


@pytest.mark.parametrize("scale", [1e-18, 1e-22, 1e-28])
def test_the_smallest_gradient_has_a_direction(scale):
    # its square is nothing in a float32: a step had the length 1e5 once
    gradient = torch.tensor([[3.0, -4.0]]) * scale
    for norm, expected in (("l2", [[0.6, -0.8]]), ("mean", [[6 / 7, -8 / 7]])):
        assert torch.allclose(optimizers.steepest(gradient, norm), torch.tensor(expected), rtol=1e-5)
    many = torch.full((1, 30_000), scale * 1e-4)
    assert torch.allclose(optimizers.steepest(many, "l2").norm(), torch.tensor(1.0), rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_directions_in_half_precision(dtype):
    gradient = torch.tensor([[3.0, -4.0], [0.0, 0.0], [3e-5, -4e-5]], dtype=dtype)
    found = optimizers.steepest(gradient, "l2")
    assert found.dtype == dtype
    assert torch.allclose(found.float(), torch.tensor([[0.6, -0.8], [0, 0], [0.6, -0.8]]), atol=4e-3)


def test_unknown_norms_are_refused():
    with pytest.raises(ValueError, match="no norm 'l1'.*choose from linf, l2, mean"):
        optimizers.steepest(torch.ones(1, 2), "l1")
    with pytest.raises(ValueError, match="no norm 'l1'.*choose from linf, l2, mean"):
        optimizers.Steepest([nn.Parameter(torch.ones(1, 2))], step=1, norm="l1")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(optimizers.Steepest, step=-1, norm="l2"), "step must be at least 0, got -1"),
        (partial(optimizers.Steepest, step=math.nan, norm="l2"), "step must be at least 0, got nan"),
        (partial(optimizers.ForgetfulAdaGrad, lr=0), "lr must be above 0, got 0"),
        (partial(optimizers.ForgetfulAdaGrad, lr=math.nan), "lr must be above 0, got nan"),
        (partial(optimizers.ForgetfulAdaGrad, lr=1, momentum=1), r"momentum is in \[0, 1\), got 1"),
        (partial(optimizers.ForgetfulAdaGrad, lr=1, momentum=-0.1), r"momentum is in \[0, 1\), got -0.1"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make([nn.Parameter(torch.ones(1, 2))])


def test_a_step_of_nothing_and_a_momentum_of_nothing_are_allowed():
    x = nn.Parameter(torch.ones(1, 2))
    optimizers.Steepest([x], step=0, norm="l2")
    optimizers.ForgetfulAdaGrad([x], lr=1, momentum=0)


def test_a_step_without_a_closure_is_refused_and_what_has_no_gradient_stays():
    x, aside = nn.Parameter(torch.tensor([[3.0, -4.0]])), nn.Parameter(torch.ones(1, 2))
    engine = optimizers.Steepest([x, aside], step=5, norm="l2")
    with pytest.raises(TypeError, match="Steepest.step needs the closure"):
        engine.step()

    def closure():
        engine.zero_grad()
        energy = x.square().sum()
        energy.backward()
        return energy

    with torch.no_grad():
        assert float(engine.step(closure)) == 25  # the energy before the step
    assert torch.allclose(x, torch.zeros(1, 2), atol=1e-6) and bool((aside == 1).all())


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(optimizers.Steepest, step=0.01, norm="linf"),
        partial(optimizers.ForgetfulAdaGrad, lr=0.1),
        optimizers.lbfgs(2),
    ],
)
def test_the_gradients_of_the_networks_own_weights_stay_as_they_were(optimizer):
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    net[1].weight.grad = torch.full_like(net[1].weight, 7.0)
    minimize(net, cross_entropy("", 1), Pixels(torch.full((1, 3, 2, 2), 0.5)), optimizer=optimizer, steps=3)
    assert bool((net[1].weight.grad == 7).all()) and net[1].bias.grad is None
    assert all(parameter.requires_grad for parameter in net.parameters())


# ---------------------------------------------------------------- L-BFGS and one cycle


def _rosenbrock(make, scale):
    x = nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    engine = make([x])

    def closure():
        engine.zero_grad()
        loss = scale * ((1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)
        loss.backward()
        return loss

    engine.step(closure)
    return float((x.detach() - 1).abs().max())  # from the minimum


def test_lbfgs_goes_on_where_the_gradient_is_small_as_such():
    default = partial(torch.optim.LBFGS, max_iter=100, line_search_fn="strong_wolfe")
    assert _rosenbrock(optimizers.lbfgs(100), 1e-5) < 1e-4 and _rosenbrock(optimizers.lbfgs(100), 1e-7) < 0.01
    assert _rosenbrock(default, 1e-5) > 5e-3 and _rosenbrock(default, 1e-7) > 1


def test_lbfgs_counts_iterations_evaluations_and_what_it_remembers():
    parameters = [nn.Parameter(torch.zeros(2))]
    by_default, given = (optimizers.lbfgs(*counts)(parameters).param_groups[0] for counts in ((8,), (8, 30)))
    assert (by_default["max_iter"], by_default["max_eval"], by_default["history_size"]) == (8, 10, 20)
    assert given["max_eval"] == 30
    with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
        optimizers.lbfgs(0)


def test_the_rate_of_one_cycle_rises_to_its_height_and_falls_to_nothing():
    network = nn.Linear(2, 1)
    cycle = optimizers.OneCycle(network, 100, rate=0.3, rise=0.2, decay=0.07)
    assert isinstance(cycle.optimizer, torch.optim.AdamW) and cycle.optimizer.param_groups[0]["weight_decay"] == 0.07
    rates = []
    for _ in range(100):
        rates.append(cycle.optimizer.param_groups[0]["lr"])
        cycle.step(network(torch.ones(4, 2)).square().mean())
    top = max(range(100), key=rates.__getitem__)
    assert top in (18, 19, 20) and math.isclose(rates[top], 0.3, rel_tol=1e-3)
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 1e-5 * 0.3


def test_a_step_of_one_cycle_descends():
    network = nn.Linear(2, 1)
    cycle = optimizers.OneCycle(network, 50, rate=0.1, rise=0.2, decay=0.0)
    losses = []
    for _ in range(50):
        losses.append((network(torch.ones(4, 2)) - 10).square().mean())
        cycle.step(losses[-1])
    assert losses[-1] < 0.9 * losses[0]
