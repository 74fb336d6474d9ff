import base64
import io
import json
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from course_lib import measure, plotting, world


def shown(figure):
    bundle = figure._repr_mimebundle_()
    kind = next(key for key in bundle if key.startswith("image/"))
    return kind, Image.open(io.BytesIO(base64.b64decode(bundle[kind])))


def test_a_grid_shows_each_image_at_its_position():
    red, blue = (torch.tensor(c).view(1, 3, 1, 1).expand(1, 3, 40, 40) for c in ([1.0, 0, 0], [0, 0, 1.0]))
    kind, image = shown(
        plotting.pictures([torch.cat([red, blue]), torch.cat([blue, red])], columns=["a", "b"], labels=["1", "2"])
    )
    assert kind == "image/jpeg" and image.width > 1000
    pixels = np.asarray(image).astype(int)
    is_red = (pixels[..., 0] > 200) & (pixels[..., 1:] < 60).all(-1)
    rows, columns = is_red.nonzero()
    upper_left = (rows < image.height * 0.5) & (columns < image.width * 0.5)
    lower_right = (rows > image.height * 0.5) & (columns > image.width * 0.5)
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


def coloured(values, name):
    """matplotlib's own colours of values (h, w)."""
    return torch.from_numpy(matplotlib.colormaps[name](np.clip(values, 0, 1))[..., :3]).permute(2, 0, 1).float()


def test_a_few_outliers_do_not_darken_the_rest(generator):
    """The scale ends at numpy's 99.5th percentile, and not at the maximum or below."""
    maps = torch.rand(2, 1, 30, 40, generator=generator)
    maps[0, 0, 0, :3], maps[1] = 1000, 7 * maps[1]
    for found, each in zip(plotting.heat(maps), maps[:, 0].numpy(), strict=True):
        assert torch.allclose(found, coloured(each / np.percentile(each, 99.5), "inferno"), atol=0.02)
    together = maps.numpy() / np.percentile(maps.numpy(), 99.5)
    for found, each in zip(plotting.heat(maps, shared=True), together[:, 0], strict=True):
        assert torch.allclose(found, coloured(each, "inferno"), atol=0.02)
    maps = maps * torch.where(torch.rand(2, 1, 30, 40, generator=generator) < 0.5, -1, 1)
    for found, each in zip(plotting.signed(maps), maps[:, 0].numpy(), strict=True):
        assert torch.allclose(found, coloured(each / np.percentile(abs(each), 99.5) / 2 + 0.5, "RdBu_r"), atol=0.02)
    gradients = maps.view(1, 1, 60, 40).expand(-1, 3, -1, -1)
    each = gradients[0].numpy()
    expected = np.clip(each / np.percentile(abs(each), 99.5) / 2 + 0.5, 0, 1)
    assert np.allclose(plotting.gradient_picture(gradients)[0].numpy(), expected, atol=1e-5)


NET = nn.Sequential(nn.Conv2d(2, 2, 3))

# function -> a call of it with something drawn
DRAWN = {
    "pictures": plotting.pictures,
    "a row of pictures": lambda x: plotting.pictures([torch.zeros(2, 3, 4, 4), x]),
    "gradient_picture": plotting.gradient_picture,
    "sheet": lambda x: plotting.sheet(x, 1),
    "mosaic": lambda x: plotting.mosaic(x, torch.zeros(1, 1, dtype=torch.long)),
    "encode": plotting.encode,
    "data_uri": plotting.data_uri,
    "Zoomable": lambda x: plotting.Zoomable(x, "an image"),
}
MAPPED = {
    "heat": plotting.heat,
    "shared heat": lambda x: plotting.heat(x, shared=True),
    "signed": plotting.signed,
}


@pytest.mark.parametrize("draw", MAPPED.values(), ids=MAPPED)
@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        (torch.zeros(4, 4), ValueError, r"maps have shape \(n, 1, h, w\), got \(4, 4\)"),
        (torch.zeros(1, 4, 4), ValueError, r"maps have shape \(n, 1, h, w\), got \(1, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4), ValueError, r"maps have shape \(n, 1, h, w\), got \(1, 3, 4, 4\)"),
        (torch.tensor([0, torch.nan]).view(2, 1, 1, 1), ValueError, r"maps \[1\] hold values that are not finite"),
        (torch.tensor([torch.inf, 0]).view(2, 1, 1, 1), ValueError, r"maps \[0\] hold values that are not finite"),
        (np.zeros((1, 1, 4, 4)), TypeError, "maps are a torch tensor .*, got ndarray"),
    ],
)
def test_what_is_no_map_is_refused_by_name(draw, maps, error, message):
    with pytest.raises(error, match=message):
        draw(maps)


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(4, 4), ValueError, r"images have shape \(n, 3, h, w\), got \(4, 4\)"),
        (torch.zeros(3, 4, 4), ValueError, r"images have shape \(n, 3, h, w\), got \(3, 4, 4\)"),
        (torch.zeros(1, 4, 4, 3), ValueError, r"images have shape \(n, 3, h, w\), got \(1, 4, 4, 3\)"),
        (torch.zeros(0, 3, 4, 4), ValueError, "no images in a batch"),
        (torch.full((1, 3, 4, 4), torch.nan), ValueError, "images hold NaN"),
        (torch.full((1, 3, 4, 4), torch.inf), ValueError, "images hold values that are not finite"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, "images are float.*got torch.uint8"),
        (np.zeros((1, 3, 4, 4)), TypeError, "images are a torch tensor .*, got ndarray"),
    ],
)
def test_what_is_no_image_is_refused_by_name(draw, x, error, message):
    if isinstance(x, np.ndarray) and draw is plotting.pictures:
        x = [x]  # an array alone is a sequence of rows
    with pytest.raises(error, match=message):
        draw(x)


def test_filters_that_are_not_finite_are_refused():
    for inputs in (2, 3):
        net = nn.Sequential(nn.Conv2d(inputs, 2, 3))
        with torch.no_grad():
            net[0].weight[0, 0, 0, 0] = torch.nan
        with pytest.raises(ValueError, match="NaN|not finite"):
            plotting.filters(net)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_precision_is_drawn_also_under_gradients_and_in_inference(dtype):
    maps = torch.linspace(0, 1, 16, dtype=dtype).view(1, 1, 4, 4)
    expected = plotting.heat(maps.float())
    for prepared in (maps, maps.clone().requires_grad_()):
        drawn = plotting.heat(prepared)
        assert drawn.dtype == dtype and not drawn.requires_grad
        assert torch.allclose(drawn.float(), expected, atol=0.05)
    with torch.inference_mode():
        for function in (plotting.heat, plotting.signed, plotting.gradient_picture, plotting.pictures):
            function(maps.clone())
    grown = plotting.sheet(maps.clone().requires_grad_(), 1, side=8)
    assert grown.dtype == dtype and not grown.requires_grad
    shown(plotting.pictures([maps, plotting.signed(maps), plotting.gradient_picture(maps)]))


@pytest.mark.parametrize("grey", [torch.tensor([0.0, 1.0]), torch.tensor([False, True])], ids=["float", "mask"])
def test_grey_images_are_drawn_grey(grey):
    _, image = shown(plotting.pictures(grey.repeat_interleave(20).expand(1, 1, 40, 40)))
    pixels = np.asarray(image).astype(int)
    assert (pixels.max(-1) - pixels.min(-1)).max() < 12  # no colour, but for what JPEG rounds
    assert (pixels < 20).all(-1).mean() > 0.3 and (pixels > 235).all(-1).mean() > 0.3
    sheet = plotting.sheet(grey.view(1, 1, 1, 2), 1, gap=0)
    assert torch.equal(sheet, torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2))


def test_heads_and_labels_that_find_no_image_are_refused():
    rows = [torch.rand(2, 3, 4, 4), torch.rand(3, 3, 4, 4)]
    plotting.pictures(rows, columns=["a", "b", "c"], labels=["1", "2"])
    plotting.pictures(rows, columns=["a"], labels=["1"])  # the rest has none
    with pytest.raises(ValueError, match=r"4 heads for 3 columns of images: \['a', 'b', 'c', 'd'\]"):
        plotting.pictures(rows, columns=list("abcd"))
    with pytest.raises(ValueError, match="3 labels for 2 rows of images"):
        plotting.pictures(rows, labels=["1", "2", "3"])
    with pytest.raises(ValueError, match="no rows of images"):
        plotting.pictures([])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: plotting.sheet(x, 0), ValueError, "columns must be at least 1, got 0"),
        (lambda x: plotting.sheet(x, 1.5), TypeError, "columns is a whole number, got 1.5"),
        (lambda x: plotting.sheet(x, 1, gap=-1), ValueError, "gap must be at least 0, got -1"),
        (lambda x: plotting.mosaic(x, torch.tensor([[0, 2]])), ValueError, "no image 2 for the grid.*from 0 to 1"),
        (lambda x: plotting.mosaic(x, torch.tensor([[0, -2]])), ValueError, "no image -2 for the grid"),
        (lambda x: plotting.mosaic(x, torch.tensor([0, 1])), ValueError, r"a grid is \(rows, columns\), got \(2,\)"),
        (lambda x: plotting.mosaic(x, torch.tensor([[0.0, 1.0]])), TypeError, "index of an image is a whole number"),
        (lambda x: plotting.encode(x), ValueError, r"one image at a time is encoded.*got \(2, 3, 4, 4\)"),
        (lambda x: plotting.encode(x[:1], "jpg"), ValueError, "no format 'jpg'.*choose from jpeg, png, webp"),
        (lambda x: plotting.Zoomable(x, "two"), ValueError, r"a zoomable image is .*got \(2, 3, 4, 4\)"),
        (lambda x: plotting.filters(NET, count=0), ValueError, "count and columns must be at least 1, got 0 and 16"),
        (lambda x: plotting.intervals(None, ["a"], []), ValueError, "1 names for 0 intervals"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.rand(2, 3, 4, 4))


def test_a_chart_is_a_png_and_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    values = [measure.interval(torch.rand(50) < p) for p in (0.2, 0.8)]
    kind, image = shown(plotting.chart(lambda ax: plotting.intervals(ax, ["a", "b"], values, chance=0.5)))
    assert kind == "image/png" and image.width > 800
    assert dict(matplotlib.rcParams) == before


def test_figures_can_be_saved(tmp_path):
    plotting.pictures(torch.rand(3, 3, 8, 8)).save(tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        assert image.width > 500


# ---------------------------------------------------------------- large images


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


def test_a_mosaic_shows_each_image_at_its_cell():
    """4 x 4 images with a gap of 1; -1 stays white."""
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


def test_layers_without_filters_are_refused_with_those_that_have_some():
    net = first_convolution(3)
    for layer in ("1", "4", "", "conv1"):
        with pytest.raises(ValueError, match=f"no convolution '{layer}'.*choose from 0, 2"):
            plotting.filters(net, layer)
    with pytest.raises(ValueError, match="the network has no convolution"):
        plotting.filters(nn.Sequential(nn.Linear(2, 2)))


def test_filters_of_a_wrapped_network_carry_its_own_names():
    net = first_convolution(3)
    for wrapped in (nn.DataParallel(net), torch.compile(net, backend="eager"), net.half()):
        assert torch.equal(plotting.filters(wrapped, "2").half(), plotting.filters(net, "2").half())


def test_an_encoded_image_is_the_image(generator):
    image = torch.randint(0, 256, (1, 3, 20, 30), generator=generator) / 255
    for form in ("png", "webp"):
        with Image.open(io.BytesIO(plotting.encode(image, form))) as opened:
            assert opened.format == form.upper() and opened.size == (30, 20)
    decoded = np.asarray(Image.open(io.BytesIO(plotting.encode(image, "png"))))
    assert np.array_equal(decoded, (image[0] * 255).round().byte().permute(1, 2, 0).numpy())
    smooth = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    for quality in (60, 95):
        with Image.open(io.BytesIO(plotting.encode(smooth, quality=quality))) as opened:
            assert opened.format == "JPEG"
            assert np.abs(np.asarray(opened) / 255.0 - smooth[0].permute(1, 2, 0).numpy()).mean() < 0.02
    assert len(plotting.encode(image, quality=30)) < len(plotting.encode(image, quality=95))


def test_encoding_cuts_what_is_outside_the_range_and_takes_gradients():
    image = torch.tensor([-1.0, 2.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2).clone().requires_grad_()
    decoded = np.asarray(Image.open(io.BytesIO(plotting.encode(image, "png"))))
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


def test_a_zoomable_image_holds_all_of_it_and_says_what_it_is():
    image = torch.linspace(0, 1, 300).expand(1, 3, 40, 300)
    alt = 'Scenes <by> "likeness" & colour'
    html = plotting.Zoomable(image, alt)._repr_html_()
    tags = Tags(html)
    assert tags.open == []
    (tag,) = [attributes for name, attributes in tags.found if name == "img"]
    assert tag["alt"] == alt
    kind, data = tag["src"].split(",")
    assert kind == "data:image/webp;base64"
    assert (tag["width"], tag["height"]) == ("300", "40")
    with Image.open(io.BytesIO(base64.b64decode(data))) as opened:
        assert opened.size == (300, 40)
        assert np.abs(np.asarray(opened) / 255.0 - image[0].permute(1, 2, 0).numpy()).mean() < 0.02


def test_a_zoomable_image_opens_without_a_script_and_from_the_keyboard():
    tags = Tags(plotting.Zoomable(torch.zeros(1, 3, 8, 8), "black")._repr_html_()).found
    names = [tag for tag, _ in tags]
    assert "script" not in names
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert not any("http" in (value or "") for _, attributes in tags for value in attributes.values())
    assert names.index("label") < names.index("input") < names.index("img")  # a click on the image ticks the box
    assert ("input", {"type": "checkbox"}) in tags
    (window,) = [attributes for _, attributes in tags if attributes.get("class") == "window"]
    assert window["tabindex"] == "0" and window["aria-label"]


GRID = torch.tensor([[2, -1], [0, 1]])


def test_tiles_travel_with_the_image_and_say_their_names_without_a_script():
    names, also = ['a "b" <c>', "fish", "cow"], [None, "鱼", "牛"]
    near = torch.tensor([[1, 2], [0, 2], [1, 0]])
    told = plotting.Tiles(GRID, names, also=also, neighbours=near)
    html = plotting.Zoomable(plotting.mosaic(tiles(3), GRID), "three", tiles=told)._repr_html_()
    found = Tags(html).found
    (figure,) = [attributes for name, attributes in found if name == "figure"]
    assert json.loads(figure["data-tiles"]) == {
        "grid": GRID.tolist(),
        "names": names,
        "also": also,
        "language": "zh",
        "neighbours": near.tolist(),
    }
    assert [attributes.get("title") for name, attributes in found if name == "i"] == [
        "cow 牛",
        None,
        names[0],
        "fish 鱼",
    ]
    plain = Tags(plotting.Zoomable(torch.zeros(1, 3, 8, 8), "black")._repr_html_()).found
    assert "i" not in [name for name, _ in plain] and "data-tiles" not in plain[0][1]


def test_a_grid_of_256_scenes_fits_a_notebook():
    """At a size and quality that one can look at closely."""
    images = world.draw(32, seed=1, size=112).images.repeat(8, 1, 1, 1)
    grid = torch.arange(256).view(16, 16)
    near = grid.flatten()[:, None].expand(256, 8)
    told = plotting.Tiles(grid, ["butterfly"] * 256, also=["蝴蝶"] * 256, neighbours=near)
    html = plotting.Zoomable(plotting.mosaic(images, grid), "scenes", tiles=told)._repr_html_()
    assert len(html.encode()) <= 1_000_000


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"grid": torch.tensor([0, 1])}, ValueError, r"a grid is \(rows, columns\), got \(2,\)"),
        ({"grid": GRID.float()}, TypeError, "index of an image is a whole number"),
        ({"names": ["a", "b"]}, ValueError, "no image 2 for the grid: they go from 0 to 1"),
        ({"grid": GRID - 1}, ValueError, "no image -2 for the grid"),
        ({"also": ["a"]}, ValueError, "1 names in another language for 3 in the first"),
        ({"neighbours": torch.zeros(2, 2).long()}, ValueError, r"neighbours are \(3, k\), .*got \(2, 2\)"),
        ({"neighbours": torch.full((3, 2), 3)}, ValueError, r"no image 3 for a neighbour: they go from 0 to 2"),
        ({"neighbours": torch.full((3, 2), -1)}, ValueError, r"no image -1 for a neighbour"),
        ({"neighbours": torch.zeros(3, 2)}, TypeError, "index of a neighbour is a whole number"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        plotting.Tiles(**{"grid": GRID, "names": ["a", "b", "c"]} | options)


@pytest.mark.parametrize(("name", "form"), [("a.png", "PNG"), ("a.PNG", "PNG"), ("a.jpg", "JPEG")])
def test_a_zoomable_image_is_saved_at_full_size(tmp_path, name, form):
    image = torch.linspace(0, 1, 60).expand(1, 3, 30, 60)
    plotting.Zoomable(image, "a ramp").save(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        assert opened.format == form and opened.size == (60, 30)


def test_maps_on_a_shared_scale_keep_their_order():
    maps = torch.stack([torch.full((1, 8, 8), 0.1), torch.full((1, 8, 8), 1.0)])
    apart, shared = plotting.heat(maps).mean((1, 2, 3)), plotting.heat(maps, shared=True).mean((1, 2, 3))
    assert torch.isclose(apart[0], apart[1]) and torch.isclose(shared[1], apart[1])
    assert shared[0] < 0.5 * shared[1]


# ---------------------------------------------------------------- images that move


def film(frames, **options):
    """The frames of the animation on the page, as arrays in [0, 1], with the milliseconds of each; and its tags."""
    tags = Tags(plotting.animation(frames, "a square moves", **options)._repr_html_())
    assert tags.open == []
    (tag,) = [attributes for name, attributes in tags.found if name == "img"]
    kind, data = tag["src"].split(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as opened:
        shown = []
        for i in range(opened.n_frames):
            opened.seek(i)
            shown.append((np.asarray(opened.convert("RGB")) / 255.0, opened.info["duration"]))
    return shown, tags.found


def moving(n=3, size=40):
    """A white square on black, further right in each frame."""
    frames = torch.zeros(n, 3, size, size)
    for i in range(n):
        frames[i, :, 8:24, 8 * i : 8 * i + 16] = 1
    return frames


def test_an_animation_holds_its_frames_and_rests_on_the_last():
    frames = moving()
    shown, tags = film(frames, rate=10, width=40)
    assert [duration for _, duration in shown] == [100, 100, 1100]
    for (got, _), expected in zip(shown, frames, strict=True):
        assert np.abs(got - expected.permute(1, 2, 0).numpy()).mean() < 0.03
    (tag,) = [attributes for name, attributes in tags if name == "img"]
    assert (tag["alt"], tag["width"], tag["height"]) == ("a square moves", "40", "40")


def test_an_animation_can_be_paused_without_a_script_and_from_the_keyboard():
    _, tags = film(moving())
    names = [tag for tag, _ in tags]
    assert "script" not in names and names.index("label") < names.index("input")
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert not any("http" in (value or "") for _, attributes in tags for value in attributes.values())


def test_small_images_are_enlarged_by_a_whole_factor_that_fits():
    frames = moving(size=40)
    for width, factor in ((500, 12), (80, 2), (79, 1), (20, 1)):
        got = plotting.animation(frames, "a square moves", width=width).frames
        assert torch.equal(got, frames.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
    assert plotting.animation(frames[:, :1] > 0.5, "a mask").frames.shape == (3, 3, 480, 480)


def points(n=40, count=300):
    """Charts of points that gather, as of t-SNE."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(count, 2, generator=generator)
    end = start / 3 + 3 * torch.randn(6, 2, generator=generator).repeat(count // 6, 1)

    def chart(t):
        def draw(ax):
            ax.scatter(*(start + t * (end - start)).T, s=9, c=torch.arange(count) % 6, cmap="tab10")
            ax.set(xlim=(-12, 12), ylim=(-12, 12), title=f"t = {t:.2f}")

        return plotting.chart(draw, width=5, height=4)

    return [chart(i / (n - 1)) for i in range(n)]


@pytest.mark.slow
def test_forty_charts_are_small_enough_for_a_page():
    animation = plotting.animation(points(), "points gather in six groups")
    assert animation.frames.shape[0] == 40 and animation.frames.shape[3] == 500
    assert len(animation._repr_html_()) <= 400_000


def test_only_what_changes_moves_in_an_animation_of_figures():
    a, b = plotting.animation([*points(2)], "points gather").frames
    changed = (a - b).abs().amax(0) > 0.2  # (h, w)
    left_spine = (a.mean(0) < 0.9).float().mean(0)[:60].argmax()
    assert changed.any() and not changed[:, left_spine - 2 : left_spine + 3].any()
    figures = [chart.figure for chart in points(2)]
    assert torch.equal(plotting.animation(figures, "points gather").frames[0], a)


@pytest.mark.parametrize(("name", "form"), [("a.gif", "GIF"), ("a.WEBP", "WEBP")])
def test_an_animation_is_saved(tmp_path, name, form):
    plotting.animation(moving(), "a square moves", width=40).save(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        assert (opened.format, opened.n_frames, opened.size) == (form, 3, (40, 40))
        assert opened.info["loop"] == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plotting.animation(torch.rand(1, 3, 8, 8), "one"), ValueError, "at least two frames, got 1"),
        (lambda: plotting.animation(moving(), " "), ValueError, "an animation needs an alt"),
        (lambda: plotting.animation(moving(), "a", rate=0), ValueError, "rate must be positive, got 0"),
        (lambda: plotting.animation(moving(), "a", width=0), ValueError, "width must be at least 1, got 0"),
        (lambda: plotting.animation(moving(), "a", width=1.5), TypeError, "width is a whole number, got 1.5"),
        (lambda: plotting.animation([], "a"), ValueError, "at least two frames, got 0"),
        (lambda: plotting.animation(["a", "b"], "a"), TypeError, "a tensor of images or a list of figures, got str"),
        (lambda: plotting.animation(moving(), "a").save("a.mp4"), ValueError, "no format of an animation 'mp4'"),
        (
            lambda: plotting.animation([plotting.chart(id), plotting.chart(id, width=3)], "a"),
            ValueError,
            r"the figures of an animation have one size, in inches; got \[\(3.0, 3.6\), \(7.0, 3.6\)\]",
        ),
    ],
)
def test_what_is_no_animation_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------- one picture at a time

CHOICES = {"epsilon": ["0", "1/255", "<2>"], "image": ["cat", "cup"]}


def greys():
    """Six images, each of its own grey, by epsilon and image."""
    return (torch.arange(6).view(3, 2, 1, 1, 1) / 8).expand(3, 2, 3, 20, 30)


def test_panels_hold_a_picture_for_each_combination_and_say_which():
    tags = Tags(plotting.panels(greys(), CHOICES, "a grey", width=60)._repr_html_())
    assert tags.open == []
    images = [attributes for name, attributes in tags.found if name == "img"]
    told = [f"a grey; epsilon {epsilon}, image {image}" for epsilon in CHOICES["epsilon"] for image in ("cat", "cup")]
    assert [image["alt"] for image in images] == told
    for image, grey in zip(images, torch.arange(6) / 8, strict=True):
        assert (image["width"], image["height"]) == ("60", "40")
        with Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1]))) as opened:
            assert np.abs(np.asarray(opened) / 255 - float(grey)).max() < 0.03
    ticked = [attributes["class"] for name, attributes in tags.found if name == "input" and "checked" in attributes]
    assert ticked == ["c0-0", "c1-0"]
    assert not any("http" in (value or "") for _, attributes in tags.found for value in attributes.values())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plotting.panels(greys()[0], CHOICES, "a"), ValueError, r"\(2, 3, 20, 30\) for settings of \(3, 2\)"),
        (lambda: plotting.panels(greys()[0, 0], {}, "a"), ValueError, "panels need a setting"),
        (lambda: plotting.panels("cat", CHOICES, "a"), TypeError, "str"),
        (lambda: plotting.panels(greys(), CHOICES, " "), ValueError, "panels need an alt"),
        (lambda: plotting.panels(greys()[:1], {"a": ["0"], "b": "xy"}, "a"), ValueError, "'a' has 1 value: at least"),
        (lambda: plotting.panels(greys()[0], {"b": "xx"}, "a"), ValueError, "'b' has one value twice: x, x"),
        (lambda: plotting.panels(greys()[0], {"b": "xy"}, "a", start="z"), ValueError, "no value 'z' of 'b'.*x, y"),
        (lambda: plotting.panels(greys(), CHOICES, "a", start="0"), ValueError, "1 values to start with for 2"),
        (lambda: plotting.panels(greys(), CHOICES, "a", width=0), ValueError, "width must be at least 1, got 0"),
        (lambda: plotting.Panels(greys()[0], CHOICES, "a", ["0", "cat"]), ValueError, "2 images for 3 x 2 = 6"),
    ],
)
def test_what_are_no_panels_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
