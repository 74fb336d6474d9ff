"""Writes what the live page needs at build time: two networks and their pictures as scripts, and a recorded version.

python -m tools.live FOLDER
"""

import base64
import json
import shutil
import sys
import zlib
from collections.abc import Iterator
from html import escape
from io import BytesIO
from math import isqrt
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from course_lib import adversarial, attribution, cutouts, data, models, plotting, taps, world
from course_lib.models import Network
from course_lib.models.packaged import InvertedBottleneck
from course_lib.world.scenes import MUTED
from project.repository import ROOT
from tools import toolbox

SOURCES = ROOT / "live"
ENGINE = ("network.js", "simd.js", "methods.js", "resize.js", "tasks.js")  # what a worker runs, and the page itself
SCRIPTS = ("engine.js", "load.js", "pictures.js", "toolbox.js", "lab.js", "page.js")
PARTS = {"coursenet": 8, "lite0": 12}  # scripts that hold the weights, so that a reader sees them come
SIDES = {"coursenet": 96, "lite0": 224}
CUTOUTS = 6  # scenes to choose from
PATCH, STRIDE = 16, 8  # the defaults of methods.js
EPSILONS = (2, 4, 8, 16)  # of 255
MAPS = 6  # a layer, in the recorded version


def write(folder: Path) -> None:
    """Fill `folder`: static/live/ with what the page loads, and recorded.html, which the page's source includes."""
    static = folder / "static" / "live"
    static.mkdir(parents=True, exist_ok=True)
    for name in (*SCRIPTS, "live.css"):
        if name != "engine.js":
            shutil.copy(SOURCES / name, static)
    (static / "engine.js").write_text(engine())
    net = models.load("coursenet")
    images, labels = scenes(net)
    written = {"coursenet": network(net, "coursenet", weights(net).tobytes(), static)}
    if lite0 := photographed():
        written["lite0"] = network(lite0, "lite0", quantised(lite0), static)
        toolbox.write(lite0, "lite0", static)
        (static / "photographs.js").write_text(f"live.photographs = {json.dumps(photographs(lite0))};\n")
    toolbox.write(net, "coursenet", static)
    (static / "scenes.js").write_text(f"live.scenes = {json.dumps(drawn(net, images, labels))};\n")
    (static / "facts.js").write_text(f"live.facts = {json.dumps({'networks': written, **colours()})};\n")
    (folder / "recorded.html").write_text(recorded(net, images, labels, static))


def engine() -> str:
    """One script that is run by the page and, from its own text, by a worker: a page that was opened as a file may not
    read its scripts."""
    sources = "".join((SOURCES / name).read_text() for name in ENGINE)
    return f"function engine() {{\n{sources}}}\nengine();\nlive.source = `(${{engine}})();`;\n"


def photographed() -> Network | None:
    """EfficientNet-Lite0, where its package is installed."""
    try:
        return models.load("efficientnet_lite0")
    except models.MissingWeights as error:
        print(f"The live page has CourseNet alone: {error}")
        return None


# ---------------------------------------------------------------- the networks, for the scripts


def network(net: Network, short: str, numbers: bytes, static: Path) -> dict[str, Any]:
    """Writes the scripts with a network's weights; what else load.js and network.js have to know of it."""
    described = [{**layer} for layer, _ in layers(net)]
    for layer in described:
        field = taps.receptive_field(net, layer["name"])
        layer["field"] = {"size": field.size, "step": field.stride, "start": field.start}
    size = -(-len(numbers) // PARTS[short] // 4) * 4
    parts = [numbers[i : i + size] for i in range(0, len(numbers), size)]
    for i, part in enumerate(parts):
        (static / f"{short}-{i}.js").write_text(f'live.arrived("{short}", {i}, "{in_base64(part)}");\n')
    return {
        "name": {"coursenet": "CourseNet", "lite0": "EfficientNet-Lite0"}[short],
        "side": SIDES[short],
        "classes": net.classes,
        "layers": described,
        "mean": float(net.mean.flatten()[0]),
        "deviation": float(net.std.flatten()[0]),
        "quantised": short == "lite0",
        "parts": [{"bytes": len(part), "crc": zlib.crc32(part)} for part in parts],
    }


def layers(net: Network) -> list[tuple[dict[str, Any], nn.Module]]:
    """What network.js has to know of each layer, in order, and the layer.

    A border of zeros belongs to the convolution that follows, a block's last convolution has the block's name where
    nothing is added to it, and what changes nothing at the network's own size of image is left out. `shown`: whether
    the page shows its maps, which it does of whole blocks and not of their insides.
    """
    found: list[tuple[dict[str, Any], nn.Module]] = []
    before = "input"
    for name, part in net.wrapped.named_children() if isinstance(net.wrapped, nn.Sequential) else net.named_children():
        if not isinstance(part, InvertedBottleneck):
            found += _layer(name, part, shown=True)
            before = name
            continue
        for inner, piece in part.named_children():
            last = inner == "project" and not part.skip
            found += _layer(name if last else f"{name}.{inner}", piece, shown=last)
        if part.skip:
            found.append(({"name": name, "kind": "add", "other": before, "shown": True}, part))
        before = name
    return _with_borders(found)


def _layer(name: str, part: nn.Module, *, shown: bool) -> Iterator[tuple[dict[str, Any], nn.Module]]:
    described = {"name": name, "shown": shown}
    if isinstance(part, nn.Conv2d) and part.groups > 1:
        yield {**described, "kind": "depthwise", "channels": part.out_channels, **_window(part)}, part
    elif isinstance(part, nn.Conv2d):
        shape = {"inputs": part.weight[0].numel(), "outputs": part.out_channels}
        yield {**described, "kind": "conv", **shape, **_window(part)}, part
    elif isinstance(part, nn.Linear):
        yield {**described, "kind": "linear", "inputs": part.in_features, "outputs": part.out_features}, part
    elif isinstance(part, nn.ReLU6):
        yield {**described, "kind": "relu", "top": 6}, part
    elif isinstance(part, nn.ReLU):
        yield {**described, "kind": "relu"}, part
    elif isinstance(part, nn.MaxPool2d):
        yield {**described, "kind": "maxpool", **_window(part)}, part
    elif isinstance(part, nn.ZeroPad2d):
        yield {**described, "kind": "border", "padding": part.padding[:2]}, part
    elif isinstance(part, nn.AdaptiveAvgPool2d) and part.output_size == 1:
        yield {**described, "kind": "mean"}, part


def _with_borders(found: list[tuple[dict[str, Any], nn.Module]]) -> list[tuple[dict[str, Any], nn.Module]]:
    padding, kept = None, []
    for layer, part in found:
        if layer["kind"] == "border":
            padding = layer["padding"]
            continue
        kept.append(({**layer, "padding": padding} if padding else layer, part))
        padding = None
    return kept


def _window(part: nn.Module) -> dict[str, int]:
    """Kernel, stride and padding, which are the same along rows and columns in both networks."""
    values = {
        name: getattr(part, f"{name}_size" if name == "kernel" else name) for name in ("kernel", "stride", "padding")
    }
    return {name: value if isinstance(value, int) else value[0] for name, value in values.items()}


def filters(net: Network) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each layer's filters, the largest weight of each filter, and the biases, in the order of network.js.

    A filter's weights go row by row, pixel by pixel, with the channels of a pixel side by side, (outputs, k, k,
    inputs); of a depthwise layer, (k, k, channels); of a linear layer, as the map that it gets.
    """
    channels = 3
    for layer, part in layers(net):
        if not isinstance(part, nn.Conv2d | nn.Linear):
            continue
        weight, bias = part.weight.detach(), part.bias
        assert bias is not None
        largest = weight.flatten(1).abs().amax(1)
        if layer["kind"] == "depthwise":
            weight = weight[:, 0].permute(1, 2, 0)
        elif isinstance(part, nn.Conv2d):
            weight = weight.permute(0, 2, 3, 1)
        elif (side := isqrt(part.in_features // channels)) > 1:  # gets a map, not a list
            weight = weight.view(part.out_features, channels, side, side).permute(0, 2, 3, 1)
        channels = len(bias)
        yield weight.contiguous().numpy(), largest.numpy(), bias.detach().numpy()


def weights(net: Network) -> np.ndarray:
    """Every layer's weights and its bias, in order, as float32: the shipped numbers, bit for bit."""
    return np.concatenate([array.ravel() for weight, _, bias in filters(net) for array in (weight, bias)])


def quantised(net: Network) -> bytes:
    """Weights as 16-bit whole numbers, all layers', then each layer's steps, one a filter, and biases, as float32.

    A filter's largest weight is 32767 steps. As many bytes as in half precision, and a tenth of the error.
    """
    whole, rest = [], []
    for weight, largest, bias in filters(net):
        step = (np.maximum(largest, np.finfo(np.float32).tiny * 65536) / 32767).astype(np.float32)  # some are dead
        spread = step.reshape(-1, *[1] * (weight.ndim - 1)) if weight.shape[0] == len(step) else step
        whole.append((weight / spread).round().astype(np.int16).ravel())
        rest += [step, bias]
    return np.concatenate(whole).astype("<i2").tobytes() + np.concatenate(rest).astype("<f4").tobytes()


# ---------------------------------------------------------------- the pictures, for the scripts


def scenes(net: Network) -> tuple[Tensor, Tensor]:
    """One scene of each class that the network names, then two that it takes for something else."""
    drawn = world.draw(128, seed=40)
    with torch.no_grad():
        right = (net(drawn.images).argmax(1) == drawn.labels).tolist()
    of_class = [[i for i, label in enumerate(drawn.labels.tolist()) if label == c] for c in range(len(net.classes))]
    chosen = [next(i for i in members if right[i]) for members in of_class]
    chosen += [i for i in range(len(drawn)) if not right[i]][:2]
    return drawn.images[chosen], drawn.labels[chosen]


def drawn(net: Network, images: Tensor, labels: Tensor) -> list[dict[str, Any]]:
    """The scenes as bytes, pixel by pixel, with their class and what the network says."""
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    with torch.no_grad():
        said = net(images).argmax(1)
    return [
        {"label": label, "said": says, "pixels": in_base64(scene.tobytes())}
        for label, says, scene in zip(labels.tolist(), said.tolist(), pixels, strict=True)
    ]


def photographs(net: Network) -> list[dict[str, str]]:
    """The course's photographs and, where the cut-outs are installed, some scenes of them: name, credit, address."""
    found = [
        _photograph(name.capitalize(), data.credit(name), data.photograph(name, net.image_size))
        for name in data.photographs()
    ]
    if cutouts.available():
        composed = cutouts.compose(24, seed=3, size=net.image_size)
        with torch.no_grad():
            right = (net(composed.images).argmax(1) == composed.labels).nonzero().flatten().tolist()
        credit = "A scene composed from cut-outs of Tux Paint's stamps, GPL-2"
        for i in right[:CUTOUTS]:
            found.append(_photograph(net.classes[composed.labels[i]].capitalize(), credit, composed.images[i : i + 1]))
    return found


def _photograph(name: str, credit: str, image: Tensor) -> dict[str, str]:
    return {"name": name, "credit": credit, "address": f"data:image/webp;base64,{in_base64(webp(image))}"}


def webp(image: Tensor, **options: Any) -> bytes:
    """An image (1, 3, h, w) as a WebP file; by default without loss, because a network sees what JPEG loses."""
    file = BytesIO()
    pixels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "webp", **{"lossless": True, "quality": 100, "method": 6, **options})
    return file.getvalue()


def colours() -> dict[str, Any]:
    """The brush's colours, and the ramps that maps are shown with."""
    values = [*world.PALETTE.tolist(), *MUTED[[0, 3]].tolist(), [0, 0, 0], [1, 1, 1]]
    names = [*world.COLOURS, "stone", "slate", "black", "white"]
    return {
        "colours": [
            {"name": name, "rgb": [round(255 * v) for v in rgb]} for name, rgb in zip(names, values, strict=True)
        ],
        # The maps of every other figure of the book
        "ramps": {"above": ramp("inferno"), "signed": ramp("RdBu_r")},
    }


def ramp(name: str) -> str:
    """256 colours from low to high, three bytes each."""
    return in_base64((matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes())


def in_base64(numbers: bytes) -> str:
    return base64.b64encode(numbers).decode()


# ---------------------------------------------------------------- the recorded version


def recorded(net: Network, images: Tensor, labels: Tensor, static: Path) -> str:
    """The page's HTML: one scene with its scores, maps, occlusion map and attacks, and the scripts that replace it."""
    label = net.index("star")
    x = images[labels == label][:1]
    with torch.no_grad():
        logits = net(x)[0]

    def image(name: str, shown: Tensor, alt: str) -> str:
        (static / f"{name}.webp").write_bytes(webp(shown))
        return f'<img src="_static/live/{name}.webp" alt="{escape(alt)}" width="{shown.shape[3]}">'

    scene = image("scene", enlarged(x), "A drawn scene of 96 by 96 pixels with a star, shown large.")
    alone = f"<figure>{scene}<figcaption>A drawn scene.</figcaption></figure>"
    parts = [
        '<div class="live-recorded">',
        "<p>This is a recorded version. Where scripts run, the network itself takes its place.</p>",
        f'<div class="live-row">{alone}{table(net, logits)}</div>',
        "<h3>What each layer sees</h3>",
        *(maps(net, x, layer, image) for layer in ("relu1", "relu3", "relu5")),
        "<h3>Cover it and see</h3>",
        occluded(net, x, label, scene, image),
        "<h3>Push every pixel a little</h3>",
        pushed(net, x, label, image),
        "</div>",
    ]
    scripts = [f'<script defer src="_static/live/{name}"></script>' for name in SCRIPTS]
    sheet = '<link rel="stylesheet" href="_static/live/live.css">'
    return "\n".join([sheet, '<div id="live">', *parts, "</div>", *scripts, ""])


def enlarged(image: Tensor, factor: int = 3) -> Tensor:
    return F.interpolate(image, scale_factor=factor, mode="nearest")


def table(net: Network, logits: Tensor) -> str:
    """The classes with their probabilities, as bars and numbers, and logits."""
    rows = [
        f'<tr{" class=live-winner" if i == logits.argmax() else ""}><th scope="row">{name}</th>'
        f'<td class="live-bar" aria-hidden="true"><span style="width:{100 * p:.1f}%"></span></td>'
        f"<td>{100 * p:.1f}&nbsp;%</td><td>{signed(z)}</td></tr>"
        for i, (name, p, z) in enumerate(zip(net.classes, logits.softmax(0).tolist(), logits.tolist(), strict=True))
    ]
    head = '<tr><th scope="col">class</th><td></td><th scope="col">probability</th><th scope="col">logit</th></tr>'
    return f'<table class="live-scores"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def signed(value: float) -> str:
    """One digit, with a typographic minus."""
    return f"{value:.1f}".replace("-", "\u2212")


def maps(net: Network, x: Tensor, layer: str, image: Any) -> str:
    """The channels of one layer with the strongest activations, beside each other on one scale."""
    with torch.no_grad():
        found = taps.Taps(net, layer)(x)[layer][0]
    strongest = found.amax((1, 2)).topk(MAPS).indices
    shown = plotting.sheet(plotting.heat(found[strongest][:, None], shared=True), MAPS, side=96)
    channels = ", ".join(map(str, strongest.tolist()))
    size = f"{found.shape[1]} by {found.shape[2]}"
    alt = f"The {MAPS} strongest activation maps of {layer}, {size} positions each, light where the channel responds."
    caption = f"<code>{layer}</code>: the channels {channels}, the strongest of {len(found)}, on one scale."
    return f"<figure>{image(layer, shown, alt)}<figcaption>{caption}</figcaption></figure>"


def occluded(net: Network, x: Tensor, label: int, scene: str, image: Any) -> str:
    heat = attribution.occlusion(net, x, label, PATCH, STRIDE)
    row, column = divmod(int(heat.flatten().argmax()), heat.shape[3])
    alt = f"The occlusion map, red where covering lowers the score: darkest at row {row}, column {column} of 96."
    most, least = float(heat.max()), float(heat.min())
    caption = (
        f"A grey patch of {PATCH} pixels walks over the scene. Red: the logit of {net.classes[label]} falls where it "
        f"covers, by {most:.1f} on average at the worst pixel; blue: it rises, by at most {max(-least, 0):.1f}."
    )
    shown = image("occlusion", enlarged(plotting.signed(heat)), alt)
    return f'<figure><div class="live-row">{scene}{shown}</div><figcaption>{caption}</figcaption></figure>'


def pushed(net: Network, x: Tensor, label: int, image: Any) -> str:
    """FGSM at several sizes, and what the network says to each."""
    figures = []
    for step in EPSILONS:
        changed = adversarial.fgsm(net, x, label, step / 255)
        with torch.no_grad():
            probability, said = net(changed)[0].softmax(0).max(0)
        output = f"{net.classes[int(said)]}, {100 * probability:.0f}\u00a0%"
        alt = f"The scene, each colour value moved by at most {step} of 255. The network says {output}."
        shown = image(f"fgsm-{step}", enlarged(changed, 2), alt)
        figures.append(f"<figure>{shown}<figcaption>ε = {step}/255: {output}</figcaption></figure>")
    return f'<div class="live-four">{"".join(figures)}</div>'


if __name__ == "__main__":
    write(Path(sys.argv[1]))
