"""The explorer: its figures, its recorded form, and the live one in a browser against a Jupyter server."""

import base64
import copy
import io
import re
import socket
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from course_lib import models, widgets, world
from course_lib.patches import top_patches


def images(html):
    """(alternative text, bytes) of each picture."""
    found = re.findall(r'<img alt="([^"]*)" src="data:image/jpeg;base64,([^"]+)"', html)
    return [(alt, base64.b64decode(data)) for alt, data in found]


@pytest.fixture(scope="module")
def few_steps():
    """Images synthesised in a few steps: what they show does not matter here."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(widgets, "STEPS", 2)
        yield


@pytest.fixture(scope="module")
def explorer(coursenet, few_steps):
    return widgets.explorer(coursenet, images=world.draw(20, seed=9).images)


def test_the_layers_are_those_of_the_network_with_their_channels(explorer):
    assert list(explorer.layers)[:3] == ["conv1", "relu1", "pool1"]
    assert explorer.layers["conv1"] == 32 and explorer.layers["fc8"] == 10


@pytest.mark.slow
def test_another_channel_layer_or_picture_shows_other_figures(explorer):
    explorer.layer.value, explorer.channel.value = "relu2", 3
    before = explorer.unit.value
    explorer.channel.value = 4
    after = explorer.unit.value
    assert [alt for alt, _ in images(before)] != [alt for alt, _ in images(after)]
    assert all(a != b for (_, a), (_, b) in zip(images(before), images(after), strict=True))
    explorer.image.value = "coffee"
    assert images(explorer.unit.value)[0] != images(after)[0]
    assert images(explorer.unit.value)[1:] == images(after)[1:]  # these depend on the unit alone


def lightness(figure):
    """Mean of the map's half of a figure of an image and its map, from 0 to 255."""
    pixels = torch.from_numpy(np.asarray(Image.open(io.BytesIO(figure)).convert("L"), dtype=np.float32))
    return float(pixels[:, pixels.shape[1] // 2 + 4 :].mean())


@pytest.mark.slow
def test_a_silent_channel_looks_silent(few_steps, coursenet):
    scenes = world.draw(40, seed=9)
    best = int(top_patches(coursenet, "relu5", scenes.images, 1).index[64, 0])
    silent = torch.zeros(1, 3, 96, 96)
    look = widgets.explorer(coursenet, scenes.images, {"empty": silent, "best": scenes.images[best : best + 1]})
    (_, empty), (_, most), *_ = images("".join(look.figures("relu5", 64)))
    look.image.value = "best"
    (_, chosen), (_, same), *_ = images("".join(look.figures("relu5", 64)))
    assert lightness(empty) < 0.5 * lightness(most)
    assert chosen == same == most  # one scale for all images of a channel
    recorded = images(look.record([("relu5", 64, "")])._repr_html_())
    assert (recorded[0][1], recorded[1][1]) == (empty, most)


def test_each_map_of_all_channels_has_the_scale_of_its_channel(explorer):
    explorer.layer.value, explorer.image.value = "relu5", "rocket"
    (_, sheet), *_ = images(explorer.all_channels.value)
    a = explorer._output("relu5", explorer.examples["rocket"])[0].amax((1, 2)) / explorer._top("relu5").values[:, 0]
    pixels = torch.from_numpy(np.asarray(Image.open(io.BytesIO(sheet)).convert("L"), dtype=np.float32))
    side = (pixels.shape[1] - 3) // 16
    tiles = [pixels[3 + i // 16 * side :, 3 + i % 16 * side :][: side - 3, : side - 3].amax() for i in range(len(a))]
    assert torch.corrcoef(torch.stack([torch.stack(tiles), a.clamp(0, 1)]))[0, 1] > 0.8  # one scale for all: 0.4


@pytest.mark.slow
def test_a_layer_with_fewer_channels_keeps_the_choice_in_range(explorer):
    explorer.layer.value, explorer.channel.value = "relu3", 90
    explorer.layer.value = "fc8"
    assert explorer.channel.value == explorer.channel.max == 9
    assert "channel 9</b> of 10" in explorer.about.value
    assert explorer.all_channels.value == ""  # no maps there


def test_every_figure_is_a_picture_with_a_description(explorer):
    explorer.layer.value = "relu3"
    shown = images(explorer.unit.value) + images(explorer.all_channels.value)
    assert len(shown) == 6
    for alt, data in shown:
        assert len(alt) > 20
        assert Image.open(io.BytesIO(data)).width >= 96


def upload(explorer, value, monkeypatch):
    """What the upload button does; a real one does not take its value from outside."""
    with monkeypatch.context() as patched:
        patched.setattr(explorer, "upload", SimpleNamespace(value=value))
        explorer._uploaded(None)


@pytest.mark.parametrize("version", [7, 8])
def test_an_uploaded_picture_is_shown(explorer, version, monkeypatch):
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40), (200, 30, 30)).save(buffer, "png")
    name = f"red{version}.png"
    file = {"content": buffer.getvalue(), "metadata": {"name": name}}
    if version == 8:  # a tuple, where ipywidgets 7 had a dictionary by name
        file = {"content": memoryview(buffer.getvalue()), "name": name}

    upload(explorer, (file,) if version == 8 else {name: file}, monkeypatch)
    assert explorer.image.value == name
    assert torch.allclose(explorer.examples[name][0, :, 0, 0] * 255, torch.tensor([200.0, 30, 30]), atol=0.5)


def test_a_broken_upload_is_named_and_changes_nothing(explorer, monkeypatch):
    chosen = explorer.image.value

    upload(explorer, ({"name": "broken.png", "content": b"no picture"},), monkeypatch)
    assert "broken.png" in explorer.about.value
    assert explorer.image.value == chosen


def test_the_recorded_form_is_html_alone_and_the_same_twice(explorer):
    units = [("relu2", 3, "an edge"), ("fc8", 1, "the <class> square")]
    html = explorer.record(units)._repr_html_()
    assert html == explorer.record(units)._repr_html_()
    assert "<script" not in html and "http" not in html
    assert html.count('type="radio"') == 2 and html.count("checked>") == 1
    assert "the &lt;class&gt; square" in html
    assert len(images(html)) == 10


def test_recording_an_unknown_unit_is_refused(explorer):
    with pytest.raises(ValueError, match="no layer 'relu9'"):
        explorer.record([("relu9", 0, "")])
    with pytest.raises(ValueError, match="channel of layer 'fc8'.*0 to 9"):
        explorer.record([("fc8", 10, "")])


# --- networks as they come ------------------------------------------------------------------------------------


class Auxiliary(nn.Module):
    """With a head that runs in training alone, like GoogLeNet's, and a layer of tokens, like a transformer's."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.aux = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 3)
        self.tokens, self.fc = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        a = self.relu(self.conv(x))
        tokens = self.tokens(a.flatten(2).mT)
        scores = self.fc(tokens.mean(1))
        return (scores, self.aux(tokens.mean(1))) if self.training else scores


def wrapped(net, classes=3):
    names = tuple(f"class {i}" for i in range(classes))
    return models.Network(net, name="small", classes=names, image_size=32, mean=[0.5] * 3, std=[0.25] * 3)


def looked_into(net, few=10):
    images = world.draw(few, seed=9, size=32).images
    return widgets.explorer(net, images, {"one": images[:1]})


def test_layers_that_do_not_run_are_left_out(few_steps):
    net = wrapped(Auxiliary())
    net.conv.train()
    explorer = looked_into(net)
    assert explorer.layers == {"conv": 4, "relu": 4, "fc": 3}
    assert net.conv.training and not net.relu.training
    assert len(images(explorer.record([("conv", 1, ""), ("fc", 2, "")])._repr_html_())) == 10


def test_a_network_without_relus_and_with_channels_last_is_looked_into(few_steps):
    torch.manual_seed(0)
    net = wrapped(ConvNeXt([CNBlockConfig(12, 16, 1), CNBlockConfig(16, None, 1)], num_classes=4), 4)
    explorer = looked_into(net)
    assert explorer.layers["features.1.0.block.3"] == 48  # (n, h, w, c)
    html = explorer.record([("features.1.0.block.3", 40, ""), ("classifier.2", 0, "")])._repr_html_()
    assert len(images(html)) == 10
    assert "all 48 channels" in widgets.Explorer._maps(explorer, "features.1.0.block.3")


def test_a_network_in_half_precision_or_in_parallel_is_looked_into(few_steps):
    net = wrapped(Auxiliary())
    for other in (copy.deepcopy(net).half(), nn.DataParallel(net)):
        images_ = world.draw(10, seed=9, size=32).images.to(next(other.parameters()).dtype)
        explorer = widgets.explorer(other, images_, {"one": images_[:1].float()})
        assert len(images(explorer.record([("relu", 1, "")])._repr_html_())) == 5


def test_what_cannot_be_looked_into_is_refused_by_name():
    with pytest.raises(TypeError, match="wrap the Auxiliary in models.Network"):
        widgets.explorer(Auxiliary())
    with pytest.raises(ValueError, match="small has no layer to look into"):
        looked_into(wrapped(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())))
    with pytest.raises(ValueError, match=r"images have shape \(n, 3, h, w\), got \(3, 32, 32\)"):
        widgets.explorer(wrapped(Auxiliary()), world.draw(9, size=32).images, {"one": torch.rand(3, 32, 32)})


def test_no_label_or_alternative_text_speaks_of_pictures(explorer):
    explorer.layer.value, explorer.channel.value = "fc8", 1
    shown = [explorer.about.value, explorer.unit.value, explorer.all_channels.value]
    explorer.layer.value = "relu3"
    shown += [explorer.about.value, explorer.unit.value, explorer.all_channels.value]
    shown += [control.description for control in explorer.children[0].children]
    words = " ".join(re.sub(r"base64,[^\"]+", "", text) for text in shown)
    assert not re.findall(r"picture|slope|answer|place\b|price|dice", words)


# --- live -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    """The address of a JupyterLab server on a folder with a notebook that shows an explorer."""
    folder = tmp_path_factory.mktemp("lab")
    cell = nbformat.v4.new_code_cell(
        "from course_lib import models, widgets, world\n"
        "widgets.explorer(models.load('coursenet'), images=world.draw(40, seed=9).images)"
    )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), folder / "explorer.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--IdentityProvider.token=", f"--ServerApp.port={port}"]
    options += [f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None", "--LabApp.check_for_updates_class="]
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options[:-1]], stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"{address}/api/status", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.5)
            else:
                pytest.fail((folder / "log.txt").read_text()[-2000:])
            yield address
        finally:
            server.terminate()
            server.wait(20)


@pytest.mark.slow
def test_in_a_live_notebook_a_layer_and_a_channel_are_chosen_and_the_picture_changes(browser, jupyter, tmp_path):
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.goto(f"{jupyter}/lab/tree/explorer.ipynb")
    page.get_by_text("| Idle").first.wait_for(timeout=120_000)  # the kernel is there
    page.locator(".jp-Cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    pictures = page.locator(".jupyter-widgets figure img")
    pictures.nth(5).wait_for(timeout=120_000)  # the unit's five and all channels

    def shown():
        return [picture.get_attribute("src") for picture in pictures.all()]

    def choose(act, changes):
        """Wait until the pictures with these numbers have changed: their widgets are updated one by one."""
        before = shown()
        act()
        now = "[...document.querySelectorAll('.jupyter-widgets figure img')].map(i => i.src)"
        changed = f"([old, which]) => {{ const now = {now}; return which.every(i => now[i] != old[i]); }}"
        page.wait_for_function(changed, arg=[before, changes], timeout=60_000)

    selects = page.locator(".jupyter-widgets select")
    choose(lambda: selects.nth(1).select_option("relu2"), list(range(6)))
    assert "relu2, channel 0" in page.locator(".jupyter-widgets").first.inner_text()
    number = page.locator(".jupyter-widgets input[type=number]")

    def type_channel():
        number.fill("7")
        number.press("Enter")

    choose(type_channel, [0, 1, 2, 3, 4])
    assert "relu2, channel 7" in page.locator(".jupyter-widgets").first.inner_text()
    page.screenshot(path=str(tmp_path / "explorer.png"))
    page.close()
