"""Writes what the live page needs at build time: CourseNet and some scenes as scripts, and a recorded version."""

import base64
import json
import shutil
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import adversarial, attribution, models, plotting, taps, world
from course_lib.models import Network
from course_lib.world.scenes import MUTED
from project.repository import ROOT

SOURCES = ROOT / "live"
SCRIPTS = ("network.js", "methods.js", "load.js", "page.js")
PARTS = 8  # of the weights, so that a reader sees the download advance, opened as a file, too
PATCH, STRIDE = 16, 8  # the defaults of methods.js
EPSILONS = (2, 4, 8, 16)  # of 255
MAPS = 6  # a layer, in the recorded version


def write(folder: Path) -> None:
    """Fill `folder`: static/live/ with what the page loads, and recorded.html, which the page's source includes."""
    static = folder / "static" / "live"
    static.mkdir(parents=True, exist_ok=True)
    for name in (*SCRIPTS, "live.css"):
        shutil.copy(SOURCES / name, static)
    net = models.load("coursenet")
    images, labels = scenes(net)
    (static / "facts.js").write_text(f"live.facts = {json.dumps(facts(net, images, labels))};\n")
    for i, part in enumerate(np.array_split(weights(net), PARTS)):
        (static / f"weights-{i}.js").write_text(f'live.weights[{i}] = "{in_base64(part)}";\n')
    (folder / "recorded.html").write_text(recorded(net, images, labels, static))


# ---------------------------------------------------------------- the network and the scenes, for the scripts


def weights(net: Network) -> np.ndarray:
    """Every layer's weights (outputs, inputs) and its bias, in order, as float32: the shipped numbers, bit for bit."""
    return np.concatenate([p.detach().contiguous().numpy().ravel() for p in net.parameters()])


def layers(net: Network) -> list[dict[str, Any]]:
    """What network.js has to know of each layer, in order. avgpool and flatten do nothing at 96 x 96."""
    found: list[dict[str, Any]] = []
    for name, part in net.named_children():
        if isinstance(part, nn.Conv2d):
            shape = {"inputs": part.weight[0].numel(), "outputs": part.out_channels}
            found.append({"name": name, "kind": "conv", **shape, **_window(part)})
        elif isinstance(part, nn.Linear):
            found.append({"name": name, "kind": "linear", "inputs": part.in_features, "outputs": part.out_features})
        elif isinstance(part, nn.ReLU):
            found.append({"name": name, "kind": "relu"})
        elif isinstance(part, nn.MaxPool2d):
            found.append({"name": name, "kind": "maxpool", **_window(part)})
    return found


def _window(part: nn.Module) -> dict[str, int]:
    """Kernel, stride and padding, which are the same along rows and columns in CourseNet."""
    values = {
        name: getattr(part, f"{name}_size" if name == "kernel" else name) for name in ("kernel", "stride", "padding")
    }
    return {name: value if isinstance(value, int) else value[0] for name, value in values.items()}


def scenes(net: Network) -> tuple[Tensor, Tensor]:
    """One scene of each class that the network names, then two that it takes for something else."""
    drawn = world.draw(128, seed=40)
    with torch.no_grad():
        right = (net(drawn.images).argmax(1) == drawn.labels).tolist()
    of_class = [[i for i, label in enumerate(drawn.labels.tolist()) if label == c] for c in range(len(net.classes))]
    chosen = [next(i for i in members if right[i]) for members in of_class]
    chosen += [i for i in range(len(drawn)) if not right[i]][:2]
    return drawn.images[chosen], drawn.labels[chosen]


def facts(net: Network, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """All but the weights: layers and their fields, classes, scenes, colours."""
    described = layers(net)
    for layer in described:
        field = taps.receptive_field(net, layer["name"])
        layer["field"] = {"size": field.size, "step": field.stride, "start": field.start}
    pixels = (images * 255).round().byte().numpy()
    with torch.no_grad():
        said = net(images).argmax(1)
    colours = [*world.PALETTE.tolist(), *MUTED[[0, 3]].tolist(), [0, 0, 0], [1, 1, 1]]
    names = [*world.COLOURS, "stone", "slate", "black", "white"]
    return {
        "classes": net.classes,
        "layers": described,
        "mean": float(net.mean[0]),
        "deviation": float(net.std[0]),
        "parts": PARTS,
        "scenes": [
            {"label": label, "said": says, "pixels": in_base64(scene)}
            for label, says, scene in zip(labels.tolist(), said.tolist(), pixels, strict=True)
        ],
        "colours": [
            {"name": name, "rgb": [round(255 * v) for v in rgb]} for name, rgb in zip(names, colours, strict=True)
        ],
        # The maps of every other figure of the book
        "ramps": {"above": ramp("inferno"), "signed": ramp("RdBu_r")},
    }


def ramp(name: str) -> str:
    """256 colours from low to high, three bytes each."""
    return in_base64((matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8))


def in_base64(array: np.ndarray) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


# ---------------------------------------------------------------- the recorded version


def recorded(net: Network, images: Tensor, labels: Tensor, static: Path) -> str:
    """The page's HTML: one scene with its scores, maps, occlusion map and attacks, and the scripts that replace it."""
    label = net.index("star")
    x = images[labels == label][:1]
    with torch.no_grad():
        logits = net(x)[0]

    def image(name: str, shown: Tensor, alt: str) -> str:
        (static / f"{name}.png").write_bytes(plotting.encode(shown, "png"))
        return f'<img src="_static/live/{name}.png" alt="{escape(alt)}" width="{shown.shape[3]}">'

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
