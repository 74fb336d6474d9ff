import pytest
import torch

from course_lib import attribution
from course_lib.taps import Taps


def test_gradient_agrees_with_finite_differences(generator):
    from course_lib import models

    net = models.load("coursenet").double()
    x = 0.1 + 0.8 * torch.rand(1, 3, 96, 96, dtype=torch.double, generator=generator)
    slope = attribution.gradient(net, x, 3)
    direction = torch.randn(x.shape, dtype=torch.double, generator=generator)
    step = 1e-6
    difference = (net(x + step * direction) - net(x - step * direction))[0, 3] / (2 * step)
    assert torch.isclose((slope * direction).sum(), difference, rtol=1e-4)


def test_saliency_is_the_absolute_gradient_maximised_over_colours(coursenet, scenes):
    slope = attribution.gradient(coursenet, scenes.images, scenes.labels)
    heat = attribution.saliency(coursenet, scenes.images, scenes.labels)
    assert heat.shape == (8, 1, 96, 96)
    assert torch.equal(heat[:, 0], slope.abs().max(dim=1).values)


def test_it_explains_the_logit_and_not_the_probability(coursenet, scenes):
    x = scenes.images[:1].clone().requires_grad_()
    coursenet(x)[0, 4].backward()
    assert torch.allclose(attribution.gradient(coursenet, scenes.images[:1], 4), x.grad, atol=1e-6)


@pytest.mark.parametrize("rule", ["gradient", "guided", "deconvnet"])
def test_a_batch_is_explained_as_its_pictures_alone(rule, coursenet, scenes):
    together = attribution.gradient(coursenet, scenes.images, scenes.labels, rule)
    for i in range(2):
        alone = attribution.gradient(coursenet, scenes.images[i : i + 1], int(scenes.labels[i]), rule)
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize("at", [None, (5, 7)])
def test_an_inner_unit_is_explained_within_its_field(at, coursenet, scenes):
    x = scenes.images[:1].clone().requires_grad_()
    maps = Taps(coursenet, "conv2")(x)["conv2"][0, 9]
    (maps.mean() if at is None else maps[at]).backward()
    got = attribution.gradient(coursenet, scenes.images[:1], 9, layer="conv2", at=at)
    assert torch.allclose(got, x.grad, atol=1e-6)
    if at is not None:
        assert (got != 0).float().mean() < 0.15  # conv2 sees a small window


def test_input_and_network_are_left_as_they_were(coursenet, scenes):
    x = scenes.images.clone()
    attribution.saliency(coursenet, x, 0, "guided")
    assert torch.equal(x, scenes.images) and not x.requires_grad and x.grad is None
    with torch.no_grad():
        attribution.saliency(coursenet, x, 0)
    assert all(p.grad is None for p in coursenet.parameters())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"label": 10}, ValueError, "no class of the output with number 10: they go from 0 to 9"),
        ({"label": -1}, ValueError, "number -1"),
        ({"label": torch.tensor([0, 1, 2])}, ValueError, "one int or 8 of them"),
        ({"label": 0.5}, TypeError, "whole number"),
        ({"rule": "smooth"}, ValueError, "no ReLU rule 'smooth'"),
        ({"layer": "conv6"}, ValueError, "no layer 'conv6'"),
        ({"x": torch.full((1, 3, 96, 96), 2.0)}, ValueError, r"lie in \[0, 1\], got \[2, 2\]"),
        ({"x": torch.full((1, 3, 96, 96), torch.nan)}, ValueError, "NaN"),
        ({"x": torch.zeros(0, 3, 96, 96)}, ValueError, "no pictures"),
        ({"x": torch.zeros(1, 3, 96, 96, dtype=torch.int64)}, TypeError, "float"),
    ],
)
def test_bad_input_is_refused(change, error, message, coursenet, scenes):
    arguments = {"x": scenes.images, "label": 0} | change
    with pytest.raises(error, match=message):
        attribution.saliency(coursenet, **arguments)
