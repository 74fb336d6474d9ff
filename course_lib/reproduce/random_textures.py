"""Textures and styles without training: the other two claims of He, Wang and Hopcroft 2016."""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib import data, models, plotting, recipes
from course_lib.errors import require
from course_lib.images import resize
from course_lib.measure import content_lost, interval, paired, patch_distance, shuffled_pixels, spectrum_distance
from course_lib.models import Network
from course_lib.progress import bar
from course_lib.reproduce import runs
from course_lib.world import shapes

STEPS = 5  # of up to 20 iterations of L-BFGS, for each copy of a texture
SQUEEZENET = ("features.1", "features.2", "features.4", "features.6")
COURSENET = ("relu1", "pool1", "relu2", "relu3")
VGG = ("features.1", "features.4", "features.9")  # relu1_1 and two poolings
CONTENT = "features.5"
CONTENTS, STYLES = ("chelsea", "astronaut", "coffee"), ("grass", "drawn bricks", "drawn leaves")
WEIGHTS = (0.003, 0.03, 0.1, 0.3, 1.0, 3.0, 30.0)  # of the style


class Arm(NamedTuple):
    """Networks of one architecture, all trained or all untrained.

    Attributes:
        load: Gives the network of a seed.
        seeds: How many seeds: 0, 1, ..., each of a network and of its textures.
        layers: Names of the layers whose statistics are matched.
    """

    load: Callable[[int], Network]
    seeds: int
    layers: tuple[str, ...]


def _random(name: str, seed: int) -> Network:
    return models.load(name, weights="random", seed=seed)


ARMS = {
    "trained SqueezeNet": Arm(lambda seed: models.load("squeezenet1_0"), 2, SQUEEZENET),
    "untrained SqueezeNet": Arm(partial(_random, "squeezenet1_0"), 2, SQUEEZENET),
    "trained CourseNet": Arm(lambda seed: models.load("coursenet", seed=seed), 2, COURSENET),
    "untrained CourseNet": Arm(partial(_random, "coursenet"), 2, COURSENET),
    "untrained VGG-19": Arm(partial(_random, "vgg19"), 1, VGG),
}
AGAINST = {  # whom an arm is compared with
    "untrained SqueezeNet": "trained SqueezeNet",
    "untrained CourseNet": "trained CourseNet",
    "untrained VGG-19": "trained SqueezeNet",
}


class Run(NamedTuple):
    """One texture or style.

    Attributes:
        arm: Name of the networks, a key of `ARMS`; or "noise" or "more of it", the two ends of the scale.
        subject: Name of the material, or of the content and the style.
        seed: Seed of the network, and of a texture.
        weight: Weight of the style; 0 for a texture.
        patches: `measure.patch_distance` to the exemplar.
        spectrum: `measure.spectrum_distance` to the exemplar.
        content: `measure.content_lost`; 0 for a texture.
        seconds: How long the synthesis took.
    """

    arm: str
    subject: str
    seed: int
    weight: float
    patches: float
    spectrum: float
    content: float
    seconds: float

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What tells this run from the others: arm, subject, seed and weight."""
        return self.arm, self.subject, self.seed, self.weight


# ---------------------------------------------------------------- materials


def textures(size: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Materials, each as two crops that do not overlap: the exemplar and more of the same.

    Photographs of brick, grass and gravel (grey, from scikit-image), and five that the drawn world has.

    Args:
        size: Side of a crop in pixels.

    Returns:
        {name: (exemplar, more)}, (1, 3, size, size) each.
    """
    import skimage.data

    found = {}
    for name in ("brick", "grass", "gravel"):
        grey = torch.from_numpy(getattr(skimage.data, name)()).float()[None, None] / 255
        found[name] = resize(grey, (2 * size, 2 * size)).expand(-1, 3, -1, -1).clamp(0, 1).contiguous()
    positions = (torch.arange(2 * size) + 0.5) / size * 2 - 2
    y, x = (field[None] for field in torch.meshgrid(positions, positions, indexing="ij"))
    noise = 0.5 * torch.randn(1, 2 * size, 2 * size, generator=torch.Generator().manual_seed(0))
    tones = {
        name: shapes.BACKGROUNDS[name](x, y, torch.full((1, 4), 0.4), noise) for name in ("bricks", "planks", "leaves")
    }
    u, v = 4.3 * x + 1.9 * y, 4.3 * y - 1.9 * x  # turned, so that neither rows nor crops repeat
    tones |= {name: shapes.TEXTURES[name](u, v, noise) for name in ("dots", "checker")}
    dark, light = torch.tensor([0.25, 0.16, 0.10]), torch.tensor([0.95, 0.80, 0.55])
    for name, tone in tones.items():
        colours = torch.lerp(dark, light, tone.clamp(0, 1)[..., None])
        found[f"drawn {name}"] = colours.permute(0, 3, 1, 2).contiguous()
    return {name: (whole[..., :size, :size], whole[..., size:, size:]) for name, whole in found.items()}


# ---------------------------------------------------------------- the commands


def add_parsers(tables: Any) -> None:
    """The commands random-textures and random-styles.

    Args:
        tables: The subparsers (`argparse`) that the commands are added to.
    """
    for name, what in (("random-textures", "textures"), ("random-styles", "styles")):
        one = tables.add_parser(name, help=f"{what} from trained and untrained networks (He, Wang, Hopcroft 2016)")
        one.add_argument("--size", type=int, default=64, help="side of the images (default 64)")
        one.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Make every texture, or style, with every network; write runs.csv, table.csv and the images to a folder.

    Args:
        given: The arguments of random-textures or random-styles, with `out`, the folder for the results.

    Raises:
        FileNotFoundError: The weights of a network are missing.
        ValueError: size < 64, or a folder that holds the runs of something else.
    """
    require(given.size >= 64, f"size must be at least 64, got {given.size}")
    title = f"{given.table}, {given.size} px"
    done = {one.key: one for one in runs.stored(given.out / "runs.csv", Run, title)}
    if given.table == "random-textures":
        _make_textures(textures(given.size), done, given.out)
        rows = texture_table(list(done.values()))
    else:
        _make_styles(given.size, done, given.out)
        rows = style_table(list(done.values()))
    runs.tabulate(given.out / "table.csv", title, rows)


# ---------------------------------------------------------------- textures


def _make_textures(of: dict[str, tuple[Tensor, Tensor]], done: dict[Any, Run], out: Path) -> None:
    for subject, (exemplar, more) in of.items():  # the two ends of the scale
        for arm, image in (("noise", shuffled_pixels(exemplar)), ("more of it", more)):
            _judge(done, out, (arm, subject, 0, 0.0), image, exemplar)
    for arm, (load, seeds, layers) in ARMS.items():
        for seed in range(seeds):
            left = [subject for subject in of if (arm, subject, seed, 0.0) not in done]
            if not left:
                continue
            net = load(seed)
            for subject in bar(left, desc=f"{arm} {seed}"):
                exemplar, start = of[subject][0], time.perf_counter()
                made = recipes.synthesize_texture(net, exemplar, layers, steps=STEPS, seed=seed)
                _judge(done, out, (arm, subject, seed, 0.0), made.image, exemplar, time.perf_counter() - start)


def _judge(
    done: dict[Any, Run],
    out: Path,
    key: tuple[str, str, int, float],
    image: Tensor,
    exemplar: Tensor,
    seconds: float = 0.0,
    content: float = 0.0,
) -> None:
    if key in done:
        return
    distances = patch_distance(image, exemplar), spectrum_distance(image, exemplar)
    done[key] = Run(*key, *distances, content, seconds)
    runs.keep(out / "runs.csv", done[key])
    (out / _file(*key)).write_bytes(plotting.encode(image, "png"))


def _file(arm: str, subject: str, seed: int, weight: float) -> str:
    """What the image of a run is called."""
    return f"{arm}-{subject}-{seed}-{weight:g}.png".replace(" ", "_")


def texture_table(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each arm: distances as shares of the noise's, over textures, each the mean over its seeds.

    The difference is that from the trained network; for VGG-19, which is not trained here, from SqueezeNet.

    Args:
        done: The runs of random-textures, those of the arm "noise" among them.

    Returns:
        Rows {column: value}; the columns of a difference are "" for an arm that is compared with none.
    """
    means = {arm: _by_subject(done, arm) for arm in dict.fromkeys(one.arm for one in done)}
    shares = {arm: values / means["noise"] for arm, values in means.items()}  # (textures, 2)
    rows = []
    for arm, share in shares.items():
        row: dict[str, Any] = {"arm": arm, "n": len(share)}
        for i, judge in enumerate(("patches", "spectrum")):
            found, beside = interval(share[:, i]), AGAINST.get(arm)
            row |= {judge: found.mean, f"{judge} low": found.low, f"{judge} high": found.high}
            names = [f"{judge} difference", f"{judge} from", f"{judge} to", f"{judge} p"]
            row |= dict.fromkeys(names, "")
            if beside in shares:
                d, p = paired(share[:, i], shares[beside][:, i])
                row |= dict(zip(names, (d.mean, d.low, d.high, p), strict=True))
        rows.append(row)
    return rows


def _by_subject(done: Sequence[Run], arm: str) -> Tensor:
    subjects = list(dict.fromkeys(one.subject for one in done))
    each = [[one[4:6] for one in done if (one.arm, one.subject) == (arm, subject)] for subject in subjects]
    return torch.stack([torch.tensor(of).mean(0) for of in each])


# ---------------------------------------------------------------- styles


def _make_styles(size: int, done: dict[Any, Run], out: Path) -> None:
    styles = textures(size)
    for arm in ("trained SqueezeNet", "untrained SqueezeNet"):
        load, seeds, layers = ARMS[arm]
        for seed in range(seeds if arm.startswith("untrained") else 1):
            net = load(seed)
            for content in bar(CONTENTS, desc=f"{arm} {seed}"):
                x = data.photograph(content, size)
                for style in STYLES:
                    for weight in WEIGHTS:
                        key, start = (arm, f"{content} as {style}", seed, weight), time.perf_counter()
                        if key in done:
                            continue
                        goal = styles[style][0]
                        made = recipes.transfer_style(net, x, goal, CONTENT, layers, weight=weight)
                        seconds = time.perf_counter() - start
                        _judge(done, out, key, made.image, goal, seconds, content_lost(made.image, x))


def style_table(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each pair of content and style: the patches' distance from the style at equal distance of content.

    Each arm has a curve, style over `content_lost`, with a point for each weight, the mean over its seeds. Both are
    read in the middle of the range that they share; a pair whose curves share none is left out. The last row is the
    ratio of the two.

    Args:
        done: The runs of random-styles, of both SqueezeNets.

    Returns:
        Rows {column: value}, in the last of which "from" and "to" are the 95 % interval of the ratio.
    """
    rows: list[dict[str, Any]] = []
    for subject in dict.fromkeys(one.subject for one in done):
        trained, untrained = (_curve(done, arm, subject) for arm in ("trained SqueezeNet", "untrained SqueezeNet"))
        low = max(float(trained[0].min()), float(untrained[0].min()))
        high = min(float(trained[0].max()), float(untrained[0].max()))
        if low > high:
            continue
        at = (low + high) / 2
        values = [float(np.interp(at, *curve.numpy())) for curve in (trained, untrained)]
        rows.append({"subject": subject, "content": at, "trained": values[0], "untrained": values[1]})
    trained, untrained = (torch.tensor([row[arm] for row in rows]) for arm in ("trained", "untrained"))
    (mean, low, high, n), p = paired(untrained.log(), trained.log())
    whole = {"subject": f"untrained / trained, geometric mean of {n}", "content": "", "trained": "", "untrained": ""}
    ends = {"ratio": math.exp(mean), "from": math.exp(low), "to": math.exp(high), "p": p}
    return [*(row | dict.fromkeys(ends, "") for row in rows), whole | ends]


def _curve(done: Sequence[Run], arm: str, subject: str) -> Tensor:
    """(2, weights): content and patches, in the order of content."""
    of = [one for one in done if (one.arm, one.subject) == (arm, subject)]
    weights = sorted({one.weight for one in of})
    points = [torch.tensor([(one.content, one.patches) for one in of if one.weight == w]).mean(0) for w in weights]
    curve = torch.stack(points).T
    return curve[:, curve[0].argsort()]
