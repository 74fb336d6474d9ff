"""Textures without training: the second claim of He, Wang and Hopcroft 2016, and whoever else makes textures."""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import cache, partial, reduce
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from course_lib import cutouts, data, models, plotting, recipes
from course_lib.energy import sliced_distance
from course_lib.errors import require
from course_lib.images import Unbounded, resize
from course_lib.measure import interval, patch_distance, shuffled_pixels, told_apart
from course_lib.models import Network
from course_lib.preimage import minimize
from course_lib.progress import bar
from course_lib.reproduce import runs
from course_lib.taps import Taps
from course_lib.texture import efros_leung, scattered, wei_levoy

STEPS = 3  # of up to 20 iterations of L-BFGS, for each copy of a texture
MARGIN = 0.05  # of the area under the ROC curve: differences below it count as none
SQUEEZENET = ("features.1", "features.2", "features.4", "features.6")
COURSENET = ("relu1", "pool1", "relu2", "relu3")
VGG = ("relu1_1", "pool1", "pool2", "pool3", "pool4")  # Gatys 2015
JUDGE = ("block3", "block5")  # layers of EfficientNet-Lite0, which no arm optimises
SHOWN = ("trained VGG-19", "untrained VGG-19"), ("brick", "gravel", "plumage", "tissue", "galaxies")  # arms, materials
Make = Callable[[Tensor], Tensor]  # exemplar -> texture


class Arm(NamedTuple):
    """A way to make a texture.

    Attributes:
        make: Gives the way of a seed: the seed of random weights, and of the initial noise.
        seeds: How many seeds: 0, 1, ...
    """

    make: Callable[[int], Make]
    seeds: int


class Run(NamedTuple):
    """One texture.

    Attributes:
        arm: A key of `ARMS`, or of `COPIES`, which are no syntheses.
        material: Name of the material.
        seed: Seed of the arm.
        apart: `told_apart` from the unseen piece, by the `JUDGE`: 1/2 or less where nothing tells, 1 where all does.
        patches: `measure.patch_distance` to the unseen piece.
        seconds: How long the synthesis took.
    """

    arm: str
    material: str
    seed: int
    apart: float
    patches: float
    seconds: float

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells this run from the others: arm, material and seed."""
        return self.arm, self.material, self.seed


# ---------------------------------------------------------------- arms


def vgg(weights: str, seed: int) -> Network:
    """The convolutions of VGG-19 with average pooling (Gatys 2015).

    Args:
        weights: "pretrained" or "random".
        seed: Of random weights.
    """
    return models.average_pooling(models.load("vgg19_features", weights=weights, seed=seed))


def _gram(load: Callable[[int], nn.Module], layers: Sequence[str], seed: int) -> Make:
    net = load(seed)
    return lambda exemplar: recipes.synthesize_texture(net, exemplar, layers, steps=STEPS, seed=seed).image


def _sliced(load: Callable[[int], Network], layers: Sequence[str], seed: int) -> Make:
    """The sliced Wasserstein loss in place of the Gram loss; copies, layers, noise and optimizer are the same."""
    net = load(seed)
    taps = Taps(net, *layers)

    def make(exemplar: Tensor) -> Tensor:
        side = exemplar.shape[3]
        x = scattered(exemplar, (side, side), torch.Generator().manual_seed(seed))
        for copy in (side // 4, side // 2, side):
            goal = taps(resize(exemplar, (copy, copy)).clamp(0, 1))
            x = resize(x, (copy, copy)).clamp(0, 1)
            terms = [sliced_distance({layer: a}) for layer, a in goal.items()]
            with torch.no_grad():
                initial = taps(x)
                shares = [(1 / float(term(initial, x))) * term for term in terms]
            x = minimize(net, reduce(add, shares), Unbounded(x), steps=STEPS, optimizer=recipes.style.LBFGS).image
        return x

    return make


def _copied(way: Callable[..., Tensor], *options: int) -> Make:
    *window, seed = options
    return lambda exemplar: way(exemplar, (exemplar.shape[2], exemplar.shape[3]), *window, seed=seed)


def _one_layer(seed: int) -> nn.Module:
    return models.RandomFilters(seed=seed)


def load(name: str, weights: str, seed: int) -> Network:
    """A network of a seed.

    Args:
        name: For `models.load`.
        weights: "pretrained" or "random".
        seed: Of random weights, and of CourseNet's training.
    """
    return models.load(name, weights=weights, seed=seed if weights == "random" or name == "coursenet" else 0)


ARMS = {
    "trained VGG-19": Arm(partial(_gram, partial(vgg, "pretrained"), VGG), 2),
    "untrained VGG-19": Arm(partial(_gram, partial(vgg, "random"), VGG), 3),
    "trained SqueezeNet": Arm(partial(_gram, partial(load, "squeezenet1_0", "pretrained"), SQUEEZENET), 2),
    "untrained SqueezeNet": Arm(partial(_gram, partial(load, "squeezenet1_0", "random"), SQUEEZENET), 3),
    "trained CourseNet": Arm(partial(_gram, partial(load, "coursenet", "pretrained"), COURSENET), 2),
    "untrained CourseNet": Arm(partial(_gram, partial(load, "coursenet", "random"), COURSENET), 3),
    "Efros, Leung": Arm(partial(_copied, efros_leung, 11), 2),
    "Wei, Levoy": Arm(partial(_copied, wei_levoy, 7, 3), 2),
    "trained VGG-19, sliced": Arm(partial(_sliced, partial(vgg, "pretrained"), VGG), 1),
    "one random layer": Arm(partial(_gram, _one_layer, models.RandomFilters().layers), 1),
}
AGAINST = {f"un{arm}": arm for arm in ARMS if f"un{arm}" in ARMS}  # untrained -> trained

# ---------------------------------------------------------------- copies whose rank is known: the judge's own test


def _blocks(x: Tensor, side: int) -> Tensor:
    """The tiles of an image in random order."""
    tiles = F.unfold(x, side, stride=side)
    order = torch.randperm(tiles.shape[2], generator=torch.Generator().manual_seed(0))
    return F.fold(tiles[..., order.to(x.device)], x.shape[2:], side, stride=side)


def _noisy(x: Tensor) -> Tensor:
    return (x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)).clamp(0, 1)


REAL = "the exemplar"
COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    REAL: lambda x: x,
    "blurred by 1 pixel": lambda x: gaussian_blur(x, 9, [1.0]),
    "noise of 0.05": _noisy,
    "tiles of 16 pixels, shuffled": partial(_blocks, side=16),
    "tiles of 8 pixels, shuffled": partial(_blocks, side=8),
    "pixels, shuffled": shuffled_pixels,
}


@cache
def _judge() -> Taps:
    return Taps(models.load("efficientnet_lite0"), *JUDGE)


@torch.no_grad()
def apart(image: Tensor, other: Tensor) -> float:
    """How well the judge tells two images apart.

    Args:
        image: (1, 3, h, w) in [0, 1], at least 96 pixels a side.
        other: The same, of any size.
    """
    return float(told_apart(_judge()(image), _judge()(other)))


# ---------------------------------------------------------------- the command


def add_parsers(tables: Any) -> None:
    """The command random-textures.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    one = tables.add_parser("random-textures", help="textures from trained and untrained networks (He 2016), judged")
    one.add_argument("--size", type=int, default=128, help="side of the images (default 128)")
    one.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Make every texture in every way; write runs.csv, judges.csv, table.csv, textures.webp and the images to a folder.

    Args:
        given: The arguments of random-textures, with `out`, the folder for the results.

    Raises:
        FileNotFoundError: The weights of a network, or the stamps, are missing.
        ValueError: size < 96, or a folder that holds the runs of something else.
    """
    require(given.size >= 96, f"size must be at least 96, got {given.size}")
    title = f"random-textures, {given.size} px"
    done = {one.key: one for one in runs.stored(given.out / "runs.csv", Run, title)}
    materials = {name: cutouts.material(name, given.size).split(1) for name in cutouts.MATERIALS}
    for name, (exemplar, more) in materials.items():
        for copy, change in COPIES.items():
            _keep(done, given.out, (copy, name, 0), partial(change, exemplar), more)
    for arm, (of, seeds) in ARMS.items():
        for seed in range(seeds):
            left = [name for name in materials if (arm, name, seed) not in done]
            if not left:
                continue
            make = of(seed)
            for name in bar(left, desc=f"{arm} {seed}"):
                exemplar, more = materials[name]
                _keep(done, given.out, (arm, name, seed), partial(make, exemplar), more)
    runs.tabulate(given.out / "judges.csv", f"{title}: the judges", judges_table(list(done.values())))
    runs.tabulate(given.out / "table.csv", title, table(list(done.values())))
    tiles = [data.read(_file(given.out, (arm, name, 0)), None) for arm in (REAL, *SHOWN[0]) for name in SHOWN[1]]
    sheet = plotting.sheet(torch.cat(tiles), len(SHOWN[1]), gap=6)
    (given.out / "textures.webp").write_bytes(plotting.encode(sheet, "webp", 85))


def _keep(
    done: dict[Any, Run], out: Path, key: tuple[str, str, int], make: Callable[[], Tensor], unseen: Tensor
) -> None:
    if key in done:
        return
    start = time.perf_counter()
    image = make()
    seconds = time.perf_counter() - start
    done[key] = Run(*key, apart(image, unseen), patch_distance(image, unseen), seconds)
    runs.keep(out / "runs.csv", done[key])
    _file(out, key).write_bytes(plotting.encode(image, "png"))


def _file(out: Path, key: tuple[str, str, int]) -> Path:
    """Where the image of a run is."""
    return out / ("-".join(map(str, key)).replace(" ", "_") + ".png")


# ---------------------------------------------------------------- tables


def judges_table(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each ruined copy: in how many materials each judge puts the exemplar nearer to the unseen piece.

    Args:
        done: The runs, those of `COPIES` among them.

    Returns:
        Rows {column: value}: copy, n materials, and for each judge the share in which it is right.
    """
    rows = []
    for copy in COPIES:
        if copy == REAL:
            continue
        pairs = [(one, other) for one in done if one.arm == REAL for other in done if other[:2] == (copy, one.material)]
        row: dict[str, Any] = {"copy": copy, "n": len(pairs)}
        for judge in ("apart", "patches"):
            row[judge] = sum(getattr(one, judge) < getattr(other, judge) for one, other in pairs) / len(pairs)
        rows.append(row)
    return rows


def table(done: Sequence[Run], samples: int = 10_000) -> list[dict[str, Any]]:
    """A row for each way: how well its textures are told apart from the unseen piece, over materials and draws.

    An untrained network's difference is that from the trained one. Its interval is a bootstrap that draws materials,
    and for each of them and both arms the draws of the weights or the noise. The verdict is that of `verdict`.

    Args:
        done: The runs.
        samples: Of the bootstrap.

    Returns:
        Rows {column: value}; the columns of a difference are "" where there is none.
    """
    rows = []
    for arm in dict.fromkeys(one.arm for one in done):
        values = by_material(done, arm)
        found = interval(values.mean(1))
        row: dict[str, Any] = {"arm": arm, "n": found.n, "draws": values.shape[1]}
        row |= {"apart": found.mean, "low": found.low, "high": found.high}
        row |= dict.fromkeys(("difference", "from", "to", "verdict"), "")
        if arm in AGAINST:
            d, low, high = resampled(values, by_material(done, AGAINST[arm]), samples)
            row |= {"difference": d, "from": low, "to": high, "verdict": verdict(low, high)}
        row["seconds"] = sum(one.seconds for one in done if one.arm == arm) / values.numel()
        rows.append(row)
    return rows


def by_material(done: Sequence[Run], arm: str) -> Tensor:
    """The areas of an arm, (materials, draws) float64.

    Args:
        done: The runs.
        arm: One of theirs.
    """
    materials = list(dict.fromkeys(one.material for one in done))
    each = [[one.apart for one in done if (one.arm, one.material) == (arm, name)] for name in materials]
    return torch.tensor(each, dtype=torch.float64)


def resampled(a: Tensor, b: Tensor, samples: int = 10_000, seed: int = 0) -> tuple[float, float, float]:
    """The mean of a - b with a 95 % interval over things and draws: a bootstrap of both levels (Davison 1997, 3.8).

    Args:
        a: (n, draws) of n things.
        b: (n, other draws) of the same things.
        samples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        Mean, and the 2.5 and 97.5 % quantiles of the resampled means.
    """
    rng = np.random.default_rng(seed)
    n = len(a)
    things = rng.integers(n, size=(samples, n))

    def drawn(values: np.ndarray) -> np.ndarray:
        draws = rng.integers(values.shape[1], size=(samples, n, values.shape[1]))
        means: np.ndarray = np.take_along_axis(values[things], draws, 2).mean((1, 2))
        return means

    differences = drawn(a.numpy()) - drawn(b.numpy())
    low, high = np.quantile(differences, [0.025, 0.975])
    return float((a.mean(1) - b.mean(1)).mean()), float(low), float(high)


def verdict(low: float, high: float, margin: float = MARGIN) -> str:
    """What an interval of a difference says, where a positive one is worse.

    Args:
        low: Its lower end.
        high: Its upper end.
        margin: Differences below it count as none.

    Returns:
        "equivalent" where the whole interval lies within the margin, else "worse" or "better" where it excludes 0, else
        "cannot tell".
    """
    if max(abs(low), abs(high)) < margin:
        return "equivalent"
    if low > 0:
        return "worse"
    return "better" if high < 0 else "cannot tell"
