import base64
import io
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

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


# ---------------------------------------------------------------- large pictures


def tiles(n, height=4, width=4):
    """Tile i has the one grey value (i + 1) / 20."""
    return ((torch.arange(n) + 1) / 20)[:, None, None, None].expand(n, 3, height, width)


def test_a_sheet_puts_tiles_row_by_row_with_white_between():
    """Two columns of 4 x 6 tiles, three tiles, gap 2: 2 + 4 + 2 + 4 + 2 high, 2 + 6 + 2 + 6 + 2 wide."""
    got = plotting.sheet(tiles(3, 4, 6), 2)
    expected = torch.ones(1, 3, 14, 18)
    expected[..., 2:6, 2:8], expected[..., 2:6, 10:16], expected[..., 8:12, 2:8] = 1 / 20, 2 / 20, 3 / 20
    assert torch.allclose(got, expected)


def test_a_sheet_enlarges_by_whole_factors_and_keeps_pixels_apart():
    chess = (torch.arange(9).view(1, 1, 3, 3) % 2).float().expand(2, 3, 3, 3)
    got = plotting.sheet(chess, 2, side=8, gap=1)
    assert got.shape == (1, 3, 11, 21)  # 3 -> 9, the first whole multiple that has 8
    assert torch.equal(got[0, :, 1:10, 1:10], chess[0].repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert plotting.sheet(chess, 2, side=3, gap=1).shape == (1, 3, 5, 9)
    assert plotting.sheet(2 * chess - 0.5, 2).amin() == 0 and plotting.sheet(2 * chess - 0.5, 2).amax() == 1


def test_a_mosaic_shows_each_picture_at_its_cell():
    """4 x 4 pictures with a gap of 1; -1 stays white."""
    grid = torch.tensor([[2, -1, 0], [-1, 3, 1]])
    got = plotting.mosaic(tiles(4), grid)
    assert got.shape == (1, 3, 11, 16)
    for row in range(2):
        for column in range(3):
            cell = got[0, :, 1 + 5 * row : 5 + 5 * row, 1 + 5 * column : 5 + 5 * column]
            number = int(grid[row, column])
            assert torch.allclose(cell, torch.tensor(1.0 if number < 0 else (number + 1) / 20))


def first_convolution(inputs):
    net = nn.Sequential(nn.Conv2d(inputs, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.zero_()
        net[2].weight.zero_()
    return net


def test_colour_filters_are_shown_in_their_colours():
    net = first_convolution(3)
    with torch.no_grad():
        net[0].weight[0, 0], net[0].weight[1, 2] = 0.01, -7  # more red; less blue
    for got in (plotting.filters(net, columns=5), plotting.filters(net, "0", columns=5)):
        assert got.shape == (1, 3, 2 + 24 + 2, 2 + 5 * 26)
        colours = got[0, :, 14, 14::26].T
        assert torch.allclose(colours[0], torch.tensor([1, 0.5, 0.5]))
        assert torch.allclose(colours[1], torch.tensor([0.5, 0.5, 0]))
        assert torch.allclose(colours[2:], torch.tensor(0.5))
    assert plotting.filters(net, count=2, columns=5).shape == (1, 3, 28, 2 + 2 * 26)


def test_other_filters_are_rows_of_channels_red_above_zero_and_blue_below():
    net = first_convolution(3)
    with torch.no_grad():
        net[2].weight[0, 1], net[2].weight[0, 2] = 0.2, -0.2
        net[2].weight[3, 4] = -9
    got = plotting.filters(net, "2", columns=16)
    side = 21  # 3 enlarged to at least 20
    assert got.shape == (1, 3, 1 + 4 * (side + 1), 1 + 5 * (side + 1))
    middle = got[0, :, 1 + side // 2 :: side + 1, 1 + side // 2 :: side + 1]  # (3, filters, channels)
    red, blue = middle[0] - middle[2] > 0.2, middle[2] - middle[0] > 0.2
    assert red.nonzero().tolist() == [[0, 1]]
    assert blue.nonzero().tolist() == [[0, 2], [3, 4]]
    assert middle[:, ~(red | blue)].min() > 0.9
    assert plotting.filters(net, "2", count=2, columns=3).shape == (1, 3, 1 + 2 * 22, 1 + 3 * 22)


def test_the_first_convolution_of_any_network_is_found(coursenet, squeezenet):
    assert plotting.filters(coursenet).shape[1] == plotting.filters(squeezenet).shape[1] == 3
    assert torch.equal(plotting.filters(coursenet), plotting.filters(coursenet, "conv1"))
    assert plotting.filters(coursenet).std() > 0.05


def test_layers_without_filters_are_refused():
    net = first_convolution(3)
    for layer in ("1", "4", ""):
        with pytest.raises(ValueError, match=f"'{layer}' is no convolution"):
            plotting.filters(net, layer)
    with pytest.raises(ValueError, match="the network has no convolution"):
        plotting.filters(nn.Sequential(nn.Linear(2, 2)))


def test_an_encoded_picture_is_the_picture(generator):
    picture = torch.randint(0, 256, (1, 3, 20, 30), generator=generator) / 255
    for form in ("png", "webp"):
        with Image.open(io.BytesIO(plotting.encode(picture, form))) as opened:
            assert opened.format == form.upper() and opened.size == (30, 20)
    decoded = np.asarray(Image.open(io.BytesIO(plotting.encode(picture, "png"))))
    assert np.array_equal(decoded, (picture[0] * 255).round().byte().permute(1, 2, 0).numpy())
    smooth = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    for quality in (60, 95):
        with Image.open(io.BytesIO(plotting.encode(smooth, quality=quality))) as opened:
            assert opened.format == "JPEG"
            assert np.abs(np.asarray(opened) / 255.0 - smooth[0].permute(1, 2, 0).numpy()).mean() < 0.02
    assert len(plotting.encode(picture, quality=30)) < len(plotting.encode(picture, quality=95))


def test_encoding_cuts_what_is_outside_the_range_and_takes_gradients():
    picture = torch.tensor([-1.0, 2.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2).clone().requires_grad_()
    decoded = np.asarray(Image.open(io.BytesIO(plotting.encode(picture, "png"))))
    assert decoded[0].tolist() == [[0, 0, 0], [255, 255, 255]]


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found, self.open = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_zoomable_picture_holds_all_of_it_and_says_what_it_is():
    picture = torch.linspace(0, 1, 300).expand(1, 3, 40, 300)
    alt = 'Scenes <by> "likeness" & colour'
    html = plotting.Zoomable(picture, alt)._repr_html_()
    tags = Tags(html)
    assert tags.open == []
    (image,) = [attributes for tag, attributes in tags.found if tag == "img"]
    assert image["alt"] == alt
    kind, data = image["src"].split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as opened:
        assert opened.size == (300, 40)
        assert np.abs(np.asarray(opened) / 255.0 - picture[0].permute(1, 2, 0).numpy()).mean() < 0.02


def test_a_zoomable_picture_opens_without_a_script_and_from_the_keyboard():
    tags = Tags(plotting.Zoomable(torch.zeros(1, 3, 8, 8), "black")._repr_html_()).found
    names = [tag for tag, _ in tags]
    assert "script" not in names
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert not any("http" in (value or "") for _, attributes in tags for value in attributes.values())
    assert names.index("label") < names.index("input") < names.index("img")  # a click on the picture ticks the box
    assert ("input", {"type": "checkbox"}) in tags
    (window,) = [attributes for _, attributes in tags if attributes.get("class") == "window"]
    assert window["tabindex"] == "0" and window["aria-label"]


@pytest.mark.parametrize(("name", "form"), [("a.png", "PNG"), ("a.PNG", "PNG"), ("a.jpg", "JPEG")])
def test_a_zoomable_picture_is_saved_at_full_size(tmp_path, name, form):
    picture = torch.linspace(0, 1, 60).expand(1, 3, 30, 60)
    plotting.Zoomable(picture, "a ramp").save(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        assert opened.format == form and opened.size == (60, 30)


def test_maps_on_a_shared_scale_keep_their_order():
    maps = torch.stack([torch.full((1, 8, 8), 0.1), torch.full((1, 8, 8), 1.0)])
    apart, shared = plotting.heat(maps).mean((1, 2, 3)), plotting.heat(maps, shared=True).mean((1, 2, 3))
    assert torch.isclose(apart[0], apart[1]) and torch.isclose(shared[1], apart[1])
    assert shared[0] < 0.5 * shared[1]
