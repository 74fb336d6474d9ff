"""Pictures by mutation and selection."""

import math

import torch

from course_lib.adversarial import evolution


class Brightness(torch.nn.Module):
    """Two classes: how bright, and how dark, a picture is."""

    def forward(self, x):
        mean = 20 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([mean, -mean], 1)


def test_the_pictures_of_a_cppn_are_smooth_and_differ(generator):
    weights = torch.randn(5, evolution.CPPN_WEIGHTS, generator=generator)
    pictures = evolution.cppn(weights, 64)
    assert pictures.shape == (5, 3, 64, 64) and 0 <= float(pictures.min()) and float(pictures.max()) <= 1
    assert pictures.std(0).mean() > 0.05
    noise = torch.rand(5, 3, 64, 64, generator=generator)
    assert pictures.diff(dim=3).abs().mean() < 0.3 * noise.diff(dim=3).abs().mean()


def test_selection_climbs_and_a_child_can_win_any_target(generator):
    net, targets = Brightness(), torch.tensor([0, 1])
    start = torch.full((2, 3, 8, 8), 0.5)
    found = evolution.evolve(net, targets, start.clone(), lambda x: x, evolution.mutate_pixels, 0.9, 300, generator)
    probability = net(found).softmax(1)[[0, 1], targets]
    assert bool((probability >= 0.9).all()) and found[0].mean() > found[1].mean()


def test_evolution_ends_when_every_target_is_sure(generator):
    sure = torch.stack([torch.ones(3, 4, 4), torch.zeros(3, 4, 4)])

    def mutate(genomes, generator):
        raise AssertionError("no child is needed")

    found = evolution.evolve(Brightness(), torch.tensor([0, 1]), sure, lambda x: x, mutate, 0.99, 10, generator)
    assert torch.equal(found, sure)


def test_mutations_move_the_share_they_say(generator):
    pixels = torch.full((4, 3, 32, 32), 0.5)
    moved = evolution.mutate_pixels(pixels, generator) != pixels
    assert math.isclose(float(moved.float().mean()), 0.1, abs_tol=0.01)
    weights = torch.zeros(50, evolution.CPPN_WEIGHTS)
    assert math.isclose(float((evolution.mutate_weights(weights, generator) != 0).float().mean()), 0.2, abs_tol=0.02)
