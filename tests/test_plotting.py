import base64
import io

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import measure, plotting


def shown(figure):
    bundle = figure._repr_mimebundle_()
    kind = next(key for key in bundle if key.startswith("image/"))
    return kind, Image.open(io.BytesIO(base64.b64decode(bundle[kind])))


def test_a_grid_shows_each_picture_in_its_place():
    red, blue = (torch.tensor(c).view(1, 3, 1, 1).expand(1, 3, 40, 40) for c in ([1.0, 0, 0], [0, 0, 1.0]))
    kind, picture = shown(
        plotting.pictures([torch.cat([red, blue]), torch.cat([blue, red])], columns=["a", "b"], labels=["1", "2"])
    )
    assert kind == "image/jpeg" and picture.width > 1000
    pixels = np.asarray(picture).astype(int)
    is_red = (pixels[..., 0] > 200) & (pixels[..., 1:] < 60).all(-1)
    rows, columns = is_red.nonzero()
    upper_left = (rows < picture.height * 0.5) & (columns < picture.width * 0.5)
    lower_right = (rows > picture.height * 0.5) & (columns > picture.width * 0.5)
    assert (upper_left | lower_right).mean() > 0.95
    assert upper_left.any() and lower_right.any()


def test_heat_rises_in_lightness_and_zero_is_black():
    ramp = torch.linspace(0, 1, 64).view(1, 1, 8, 8)
    lightness = plotting.heat(ramp).mean(1).flatten()
    assert lightness[0] < 0.02
    assert (lightness.diff() > -0.01).all() and lightness[-1] > 0.8


def test_signed_maps_are_white_at_zero_red_above_and_blue_below():
    maps = torch.tensor([-1.0, 0.0, 0.0, 1.0]).view(1, 1, 2, 2)
    blue, white, _, red = plotting.signed(maps)[0].flatten(1).T
    assert white.min() > 0.9
    assert red[0] > red[2] + 0.2 and blue[2] > blue[0] + 0.2


def test_a_blank_map_stays_blank():
    for function in (plotting.heat, plotting.signed):
        assert torch.isfinite(function(torch.zeros(1, 1, 4, 4))).all()
    assert torch.equal(plotting.gradient_picture(torch.zeros(1, 3, 4, 4)), torch.full((1, 3, 4, 4), 0.5))


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"maps have shape \(n, 1, h, w\)"):
        plotting.heat(torch.zeros(1, 3, 4, 4))


def test_a_chart_is_a_png_and_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    values = [measure.interval(torch.rand(50) < p) for p in (0.2, 0.8)]
    kind, picture = shown(plotting.chart(lambda ax: plotting.intervals(ax, ["a", "b"], values, chance=0.5)))
    assert kind == "image/png" and picture.width > 800
    assert dict(matplotlib.rcParams) == before


def test_figures_can_be_saved(tmp_path):
    plotting.pictures(torch.rand(3, 3, 8, 8)).save(tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width > 500
