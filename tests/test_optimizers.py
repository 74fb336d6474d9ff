"""Steps that torch.optim does not have, against their formulas worked by hand."""

import math
from functools import partial

import torch

from course_lib import optimizers
from course_lib.energy import Energy
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


def test_each_picture_of_a_batch_steps_as_it_would_alone(generator):
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
        found = minimize(torch.nn.Identity(), energy, Pixels(goal + 0.2), optimizer=walk, steps=80, progress=False)
        assert found.total[-1] < 0.05 * found.total[0]
