"""Images by mutation and selection."""

import math

import numpy as np
import pytest
import torch

from course_lib.adversarial import evolution


class Brightness(torch.nn.Module):
    """Two classes: how bright, and how dark, an image is."""

    def forward(self, x):
        mean = 20 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([mean, -mean], 1)


def test_the_images_of_a_cppn_are_smooth_and_differ(generator):
    weights = torch.randn(5, evolution.CPPN_WEIGHTS, generator=generator)
    images = evolution.cppn(weights, 64)
    assert images.shape == (5, 3, 64, 64) and 0 <= float(images.min()) and float(images.max()) <= 1
    assert images.std(0).mean() > 0.05
    noise = torch.rand(5, 3, 64, 64, generator=generator)
    assert images.diff(dim=3).abs().mean() < 0.3 * noise.diff(dim=3).abs().mean()


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


def test_mutations_move_by_the_step_they_say(generator):
    pixels = torch.full((64, 3, 32, 32), 0.5)
    moved = evolution.mutate_pixels(pixels, generator)
    assert 0 == moved.min() and moved.max() == 1  # clipped at two and a half standard deviations
    step = (moved - 0.5)[(moved != 0.5) & (moved > 0) & (moved < 1)]
    assert math.isclose(float((step.abs() < 0.2).float().mean()), 0.6827 / 0.9876, abs_tol=0.01)
    step = evolution.mutate_weights(torch.zeros(200, evolution.CPPN_WEIGHTS), generator)
    assert math.isclose(float(step[step != 0].std()), 0.5, abs_tol=0.02)


def test_a_generation_has_sixteen_children_of_the_unfinished(generator):
    seen, parents = [], []

    class Counting(Brightness):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    def mutate(genomes, generator):
        parents.append(genomes.clone())
        return genomes

    elites = torch.stack([torch.ones(3, 4, 4), torch.ones(3, 4, 4) * 0.7])  # the second should be dark
    evolution.evolve(Counting(), [0, 1], elites, lambda x: x, mutate, 0.9, 4, generator)
    assert seen == [2, 16, 16, 16, 16]
    assert all(torch.equal(each, elites[1:].expand(16, -1, -1, -1)) for each in parents)


def test_a_child_wins_the_target_that_it_suits(generator):
    # children are half as bright: that of the second image suits the first target, and that of the first the second
    elites = torch.stack([torch.full((3, 4, 4), 0.2), torch.full((3, 4, 4), 0.55)])
    found = evolution.evolve(
        Brightness(), torch.tensor([0, 1]), elites, lambda x: x, lambda genomes, _: genomes / 2, 0.999999, 1, generator
    )
    assert torch.allclose(found, torch.tensor([0.275, 0.1])[:, None, None, None].expand_as(found))


def test_no_generation_gives_the_elites_and_the_arguments_stay(generator):
    elites = torch.full((2, 3, 4, 4), 1.5)
    found = evolution.evolve(Brightness(), [0, 1], elites, lambda x: x, evolution.mutate_pixels, 0.9, 0, generator)
    assert torch.equal(found, torch.ones_like(elites))  # in [0, 1]
    evolution.evolve(Brightness(), [1, 1], elites, lambda x: x, evolution.mutate_pixels, 0.9, 9, generator)
    assert bool((elites == 1.5).all())


def test_evolution_ends_at_its_confidence_and_not_later(generator):
    enough = math.log(0.9 / 0.1) / 40 + 0.5  # where Brightness is sure to 0.9

    def evolved(brightness, calls):
        def mutate(genomes, generator):
            calls.append(1)
            return genomes

        elites = torch.full((1, 3, 4, 4), brightness)
        evolution.evolve(Brightness(), 0, elites, lambda x: x, mutate, 0.9, 1, generator)
        return len(calls)

    assert evolved(enough + 1e-3, []) == 0 and evolved(enough - 1e-3, []) == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"confidence": 1.1}, ValueError, r"confidence is in \[0, 1\], got 1.1"),
        ({"confidence": "1"}, TypeError, "confidence is a number"),
        ({"generations": -1}, ValueError, "generations must be at least 0"),
        ({"generations": 1.0}, TypeError, "generations is a whole number"),
        ({"elites": [[0.0]]}, TypeError, "elites are a torch tensor"),
        ({"elites": torch.zeros(0, 3, 4, 4)}, ValueError, "at least one genome"),
        ({"targets": 2}, ValueError, "no class of the output with number 2"),
    ],
)
def test_bad_wishes_are_refused(change, error, message, generator):
    arguments = {"targets": [0, 1], "elites": torch.zeros(2, 3, 4, 4), "confidence": 0.9, "generations": 1} | change
    with pytest.raises(error, match=message):
        evolution.evolve(
            Brightness(), develop=lambda x: x, mutate=evolution.mutate_pixels, generator=generator, **arguments
        )


# ---------------------------------------------------------------- CPPNs, worked by hand


def _weights(*entries):
    """Weights of one network that are zero but for (layer, to, from, value)."""
    matrices = [np.zeros(shape) for shape in [(12, 4), (12, 12), (12, 12), (3, 12)]]
    for layer, to, came_from, value in entries:
        matrices[layer][to, came_from] = value
    return torch.from_numpy(np.concatenate([matrix.ravel() for matrix in matrices]))[None]


INPUTS = {  # what a network of side 5 sees
    "x": np.tile([-1, -0.5, 0, 0.5, 1], (5, 1)),
    "y": np.tile([-1, -0.5, 0, 0.5, 1], (5, 1)).T,
    "distance": np.hypot(*np.meshgrid([-1, -0.5, 0, 0.5, 1], [-1, -0.5, 0, 0.5, 1])),
    "one": np.ones((5, 5)),
}


@pytest.mark.parametrize("number", range(4))
def test_each_input_and_each_activation_function_of_a_cppn(number):
    """One path through the network: an input, one of the four functions, the absolute value twice, red."""
    signal = list(INPUTS.values())[number]
    function = [np.sin, lambda z: np.exp(-(z**2)), np.tanh, np.abs][number]
    weights = _weights((0, number, number, 0.8), (1, 3, number, 0.7), (2, 7, 3, -0.6), (3, 0, 7, 1.5))
    first = function(2 / 2 * 0.8 * signal)  # 2 / sqrt(4 inputs)
    behind = np.abs(2 / 12**0.5 * 0.7 * first)
    expected = 2 / 12**0.5 * 1.5 * np.abs(2 / 12**0.5 * -0.6 * behind)
    logits = evolution.cppn(weights, 5)[0].logit()
    assert np.allclose(logits[0], expected, atol=1e-9)
    assert np.allclose(logits[1:], 0)


def test_bad_cppns_are_refused():
    with pytest.raises(ValueError, match=r"weights have shape \(n, 372\), got \(1, 371\)"):
        evolution.cppn(torch.zeros(1, 371), 4)
    with pytest.raises(ValueError, match="side must be at least 1"):
        evolution.cppn(torch.zeros(1, 372), 0)
