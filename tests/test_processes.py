"""Textures by processes with known parameters: the estimates find them again."""

import math

import pytest
import torch

from course_lib.world import processes


@pytest.mark.parametrize("spacing", [6.0, 7.5, 9.0])
@pytest.mark.parametrize("degrees", [0.0, 37.0, 90.0, 151.0])
def test_stripes_have_their_spacing_and_direction(spacing, degrees):
    found, angle = processes.wave(processes.stripes(spacing, math.radians(degrees), seed=3))
    assert found == pytest.approx(spacing, rel=0.03)
    assert abs((angle - degrees + 90) % 180 - 90) < 2


@pytest.mark.parametrize("total", [1, 25, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_dots_are_counted(total, seed):
    assert abs(processes.spots(processes.dots(total, seed=seed)) - total) <= (total > 1)  # one may lie on the border


def test_cells_of_a_mosaic_grow_with_their_number():
    """The borders of a Poisson-Voronoi mosaic are 2 sqrt(density) long for each unit of area (Meijering 1953)."""
    few, many = (
        torch.tensor([processes.cells(processes.mosaic(n, size=128, seed=seed)) for seed in range(8)]).mean()
        for n in (60, 120)
    )
    assert float(many / few) == pytest.approx(2, rel=0.25)


def test_a_seed_draws_again_and_another_draws_another():
    for draw in (lambda seed: processes.dots(20, seed=seed), lambda seed: processes.mosaic(20, seed=seed)):
        assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_images_are_images():
    for x in (processes.stripes(6, 0.3, size=40), processes.dots(9, size=40), processes.mosaic(9, size=40)):
        assert x.shape == (1, 3, 40, 40) and 0 <= float(x.min()) and float(x.max()) <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: processes.stripes(1, 0), "spacing"),
        (lambda: processes.dots(41), "total must be at most 40 for 56 pixels, got 41"),
        (lambda: processes.mosaic(0), "total"),
        (lambda: processes.mosaic(3, size=0), "size"),
        (lambda: processes.spots(torch.zeros(2, 3, 8, 8)), "one image at a time, got 2"),
        (lambda: processes.wave(torch.zeros(1, 1, 8, 8)), "images have shape"),
    ],
)
def test_bad_input_names_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
