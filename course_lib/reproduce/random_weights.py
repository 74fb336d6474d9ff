"""Are random weights as good as trained ones? The first claim of He, Wang and Hopcroft 2016: inversion."""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib import data, models, plotting, recipes
from course_lib.energy import Energy
from course_lib.errors import require, unknown
from course_lib.images import Pixels
from course_lib.measure import correlation, flat, interval, paired, spread
from course_lib.models import Network
from course_lib.progress import bar
from course_lib.recipes import from_white_noise, greedy_weights
from course_lib.reproduce import runs
from course_lib.taps import Taps, hooked

BATCH = 4  # images that Adam inverts side by side
EVALUATIONS = 160  # of the energy and its gradient, in each way
ADAM: recipes.inversion.Stages = [
    (partial(torch.optim.Adam, lr=lr), n) for lr, n in ((0.1, 60), (0.03, 60), (0.01, 40))
]


class Run(NamedTuple):
    """One inversion.

    Attributes:
        network: Name of the network.
        arm: Which weights it has, a key of `ARMS`.
        layer: Name of the layer whose code f was inverted.
        way: How the energy was minimised, a key of `WAYS`.
        seed: Seed of the weights.
        picture: Number of the image x, from 0.
        error: ``|x* - x|``, where ``x*`` is the image found.
        correlation: Pearson's correlation of ``x*`` and x.
        code: ``|f(x*) - f(x)| / |f(x)|``.
        seconds: How long the inversion took; of images that were inverted together, an equal share.
    """

    network: str
    arm: str
    layer: str
    way: str
    seed: int
    picture: int
    error: float
    correlation: float
    code: float
    seconds: float

    @property
    def key(self) -> tuple[str, str, str, str, int, int]:
        """What tells this run from the others: network, arm, layer, way, seed and image."""
        return self.network, self.arm, self.layer, self.way, self.seed, self.picture


class Question(NamedTuple):
    """What is inverted and compared.

    Attributes:
        network: Name of the network.
        arms: {key of `ARMS`: how many seeds}; the others are compared with the first.
        layers: Names of the layers, the deepest last.
        ways: How the energy is minimised, keys of `WAYS`.
    """

    network: str
    arms: dict[str, int]
    layers: tuple[str, ...]
    ways: tuple[str, ...]


FREE, SLOW, NATURAL = "L-BFGS", "Adam", "Adam with R"
_COURSENET = ("relu1", "relu2", "relu3", "relu5")
_SQUEEZENET = ("features.1", "features.3", "features.5", "features.8")
_VGG = tuple(f"relu{block}_2" for block in range(1, 6))
_REASONS = {"untrained": 2, "trained": 1, "shuffled": 2, "as active": 2, "as uneven": 2}
QUESTIONS: dict[str, tuple[Question, ...]] = {
    "training": (
        Question("coursenet", {"trained": 2, "untrained": 2}, _COURSENET, (FREE, SLOW, NATURAL)),
        Question("squeezenet1_0", {"trained": 1, "untrained": 2}, _SQUEEZENET, (FREE, SLOW, NATURAL)),
        Question("vgg19_features", {"trained": 1, "untrained": 3}, _VGG, (FREE, SLOW, NATURAL)),
    ),
    "reasons": (
        Question("coursenet", _REASONS, ("relu1", "relu2"), (FREE, NATURAL)),
        Question("squeezenet1_0", _REASONS, ("features.1", "features.5"), (FREE, NATURAL)),
    ),
    "starts": (Question("coursenet", {"untrained": 3, "kaiming": 3, "torchvision": 3}, ("relu1", "relu2"), (FREE,)),),
    "greedy": (
        Question("coursenet", {"untrained": 6, "greedy": 6}, ("relu1", "relu2", "relu3"), (FREE,)),
        Question("vgg19", {"untrained": 2, "greedy": 2}, ("features.3", "features.8"), (FREE,)),
    ),
}


def add_parsers(tables: Any) -> None:
    """The command random-weights.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    one = tables.add_parser("random-weights", help="trained and untrained networks inverted (He, Wang, Hopcroft 2016)")
    one.add_argument("--questions", nargs="+", default=list(QUESTIONS), help=f"default: {' '.join(QUESTIONS)}")
    one.add_argument("--folder", type=Path, help="of photographs (default: drawn scenes)")
    one.add_argument("--count", type=int, default=12, help="how many images (default 12)")
    one.add_argument("--size", type=int, default=64, help="side of the images (default 64)")
    one.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Invert what the questions are about, then write runs.csv, table.csv and errors.png to a folder.

    Args:
        given: The arguments of random-weights, with `out`, the folder for the results.

    Raises:
        FileNotFoundError: There is no such folder of photographs, or the weights of a network are missing.
        NotADirectoryError: It is a file.
        ValueError: An unknown question, count < 2 or more than the folder holds, or a folder for the results that holds
            the runs of something else.
    """
    for question in given.questions:
        if question not in QUESTIONS:
            raise unknown("question", question, QUESTIONS)
    require(given.count >= 2, f"count must be at least 2, or there are no pairs to compare, got {given.count}")
    title = f"random-weights, {given.folder or 'drawn scenes'}, {given.size} px, {EVALUATIONS} evaluations"
    images = runs.images(given.folder, given.count, given.size)
    images = images.to("cuda" if torch.cuda.is_available() else "cpu")
    done = {one.key: one for one in runs.stored(given.out / "runs.csv", Run, title)}
    questions = [one for name in given.questions for one in QUESTIONS[name]]
    for question in questions:
        _make(question, images, done, given.out / "runs.csv")
    rows = [row for question in questions for row in summary(question, list(done.values()), images)]
    runs.tabulate(given.out / "table.csv", title, rows)
    _show([row for row in rows if row["arm"] in ("trained", "untrained")]).save(str(given.out / "errors.png"))


def _make(question: Question, images: Tensor, done: dict[Any, Run], path: Path) -> None:
    """Make the runs that are not stored yet."""
    name, count = question.network, len(images)
    per_net = [(layer, way) for layer in question.layers for way in question.ways]
    nets = [(arm, seed) for arm, seeds in question.arms.items() for seed in range(seeds)]
    wanted = {net: [(name, net[0], *of, net[1], i) for of in per_net for i in range(count)] for net in nets}
    total = sum(map(len, wanted.values()))
    with bar(
        desc=name, unit="run", total=total, initial=sum(key in done for w in wanted.values() for key in w)
    ) as progress:
        for (arm, seed), keys in wanted.items():
            if all(key in done for key in keys):
                continue
            net = ARMS[arm](name, seed, images, question.layers[-1])
            for layer, way in per_net:
                left = [i for i in range(count) if (name, arm, layer, way, seed, i) not in done]
                for one in _invert(net, (name, arm, layer, way, seed), images, left):
                    runs.keep(path, one)
                    done[one.key] = one
                    progress.update()


def _invert(net: Network, of: tuple[str, str, str, str, int], images: Tensor, left: list[int]) -> Iterator[Run]:
    *_, layer, way, seed = of
    side = 1 if way == FREE else BATCH
    for batch in (left[i : i + side] for i in range(0, len(left), side)):
        x = images[batch]
        start = time.perf_counter()
        found = WAYS[way](net, layer, x, 1000 * seed + batch[0])
        seconds = (time.perf_counter() - start) / len(batch)
        error = (found - x).flatten(1).norm(dim=1)
        with torch.no_grad():
            codes, wanted = (flat(Taps(net, layer)(y)) for y in (found, x))
        code = (codes - wanted).norm(dim=1) / wanted.norm(dim=1)
        alike = correlation(found, x)
        for j, i in enumerate(batch):
            yield Run(*of, i, float(error[j]), float(alike[j]), float(code[j]), seconds)


# ---------------------------------------------------------------- ways down


def _adam(net: Network, layer: str, x: Tensor, seed: int, *, regularizer: Energy | None) -> Tensor:
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    features = Taps(net, layer)
    found = recipes.invert(features, x, image=Pixels(noise), stages=ADAM, regularizer=regularizer)
    return found.image


# All begin at uniform white noise. The first is the paper's; the last has Mahendran and Vedaldi's regulariser R.
WAYS: dict[str, Callable[[Network, str, Tensor, int], Tensor]] = {
    FREE: lambda net, layer, x, seed: from_white_noise(net, layer, x, evaluations=EVALUATIONS, seed=seed),
    SLOW: partial(_adam, regularizer=None),
    NATURAL: lambda net, layer, x, seed: _adam(
        net, layer, x, seed, regularizer=recipes.natural(x.shape[2], x.shape[3], 0.5)
    ),
}

# ---------------------------------------------------------------- arms: (network, seed, images, deepest layer) -> net


def _trained(name: str, seed: int, images: Tensor, until: str) -> Network:
    net = models.load(name, seed=seed) if name == "coursenet" else models.load(name)
    return net.to(images.device)


def _untrained(name: str, seed: int, images: Tensor, until: str, start: str = "unit_variance") -> Network:
    return models.load(name, weights="random", seed=seed, initialization=start).to(images.device)


@torch.no_grad()
def _shuffled(name: str, seed: int, images: Tensor, until: str) -> Network:
    """The trained network's own weights and biases, shuffled within each convolution."""
    net, generator = _trained(name, 0, images, until), torch.Generator().manual_seed(seed)
    for layer in _convolutions(net):
        for values in (layer.weight, layer.bias):
            order = torch.randperm(values.numel(), generator=generator).to(values.device)
            values.copy_(values.flatten()[order].view_as(values))
    return net


@torch.no_grad()
def _as_uneven(name: str, seed: int, images: Tensor, until: str) -> Network:
    """Random filters with the trained network's singular values: U S_trained V^T instead of U S V^T."""
    net, trained = _untrained(name, seed, images, until), _trained(name, 0, images, until)
    for layer, model in zip(_convolutions(net), _convolutions(trained), strict=True):
        u, _, v = torch.linalg.svd(layer.weight.flatten(1), full_matrices=False)
        values = torch.linalg.svdvals(model.weight.flatten(1))
        layer.weight.copy_((u * values @ v).view_as(layer.weight))
    return net


@torch.no_grad()
def _as_active(name: str, seed: int, images: Tensor, until: str) -> Network:
    """Random filters, with biases that let each channel be active as often as the trained network's."""
    net, trained = _untrained(name, seed, images, until), _trained(name, 0, images, until)
    shares: dict[int, Tensor] = {}  # of the positions where a channel is active, by the number of the convolution

    def note(i: int, output: Tensor) -> None:
        shares[i] = (output > 0).float().mean((0, 2, 3))

    def shift(i: int, output: Tensor) -> Tensor:
        values = output.transpose(0, 1).flatten(1)
        bias = -torch.stack([v.quantile(1 - share) for v, share in zip(values, shares[i], strict=True)])
        layers[i].bias.copy_(bias)
        return output + bias[:, None, None]

    layers = _convolutions(net)
    for network, act in ((trained, note), (net, shift)):
        names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
        with ExitStack() as stack:
            for i, layer in enumerate(names):
                stack.enter_context(hooked(network, layer, partial(act, i)))
            network(images)  # once: a second pass would see the biases of the first
    return net


def _greedy(name: str, seed: int, images: Tensor, until: str) -> Network:
    reference = data.photograph("chelsea", images.shape[-1]).to(images)
    return greedy_weights(_untrained(name, seed, images, until), reference, until=until, seed=seed)


def _convolutions(net: Network) -> list[Any]:
    return [module for module in net.modules() if isinstance(module, nn.Conv2d)]


ARMS: dict[str, Callable[[str, int, Tensor, str], Network]] = {
    "trained": _trained,
    "untrained": _untrained,
    "kaiming": partial(_untrained, start="kaiming"),
    "torchvision": partial(_untrained, start="torchvision"),
    "shuffled": _shuffled,
    "as active": _as_active,
    "as uneven": _as_uneven,
    "greedy": _greedy,
}

# ---------------------------------------------------------------- the table


def summary(question: Question, done: Sequence[Run], images: Tensor) -> list[dict[str, Any]]:
    """A row for each layer, way and arm: means over images, each the mean over its seeds, and the difference.

    Errors are in shares of the mean distance between different images; differences are from the first arm.

    Args:
        question: What is compared.
        done: The runs, all those of the question among them.
        images: (n, 3, h, w), all that were inverted, n at least 2.

    Returns:
        Rows {column: value}; the columns of the difference are "" for the first arm.
    """
    unit = spread(images.flatten(1).cpu())
    rows = []
    for layer in question.layers:
        for way in question.ways:
            arms = {
                arm: torch.tensor(_by_image(done, (question.network, arm, layer, way), seeds, len(images)))
                for arm, seeds in question.arms.items()
            }  # (images, 3)
            first, *_ = arms
            for arm, values in arms.items():
                error = interval(values[:, 0] / unit)
                row = {"network": question.network, "layer": layer, "way": way, "arm": arm, "n": error.n}
                row |= {"seeds": question.arms[arm], "error": error.mean, "low": error.low, "high": error.high}
                row |= {"correlation": float(values[:, 1].mean()), "code": float(values[:, 2].mean())}
                if arm == first:
                    rows.append(row | dict.fromkeys(("difference", "from", "to", "p"), ""))
                    continue
                d, p = paired(values[:, 0] / unit, arms[first][:, 0] / unit)
                rows.append(row | {"difference": d.mean, "from": d.low, "to": d.high, "p": p})
    return rows


def _by_image(done: Sequence[Run], of: tuple[str, str, str, str], seeds: int, count: int) -> list[list[float]]:
    """For each image error, correlation and code, as means over the seeds."""
    found = [[one for one in done if one.key == (*of, seed, i)] for i in range(count) for seed in range(seeds)]
    each = [[*of_one[0][6:9]] for of_one in found]
    return [
        [sum(column) / seeds for column in zip(*each[i * seeds : (i + 1) * seeds], strict=True)] for i in range(count)
    ]


def _show(rows: list[dict[str, Any]]) -> plotting.Shown:
    """Errors over layers, a chart for each network and a line for each way and arm."""
    networks = list(dict.fromkeys(row["network"] for row in rows))

    def draw(axes: Any) -> None:
        for network, ax in zip(networks, axes if len(networks) > 1 else [axes], strict=True):
            of = [row for row in rows if row["network"] == network]
            layers = list(dict.fromkeys(row["layer"] for row in of))
            for i, way in enumerate(dict.fromkeys(row["way"] for row in of)):
                for arm, style in (("trained", "o-"), ("untrained", "o--")):
                    line = [row for row in of if (row["way"], row["arm"]) == (way, arm)]
                    half = [row["high"] - row["error"] for row in line]
                    positions = [layers.index(row["layer"]) for row in line]
                    errors = [row["error"] for row in line]
                    ax.errorbar(positions, errors, half, fmt=style, color=f"C{i}", capsize=3, label=f"{arm}, {way}")
            ax.set_xticks(range(len(layers)), layers, rotation=45, ha="right")
            ax.set_title(network)
            ax.set_ylabel("error of the image, 95 % interval")
            ax.legend(fontsize=8)

    return plotting.chart(draw, width=4.2 * len(networks), columns=len(networks))
