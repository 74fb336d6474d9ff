"""Gradient ascent, each method at its best step and length, before a judge that separates."""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from course_lib import images, models, plotting
from course_lib.energy import activation, alpha_norm, total_variation
from course_lib.errors import require
from course_lib.images import Fourier, Image, Phase, Pixels, compose, jitter, rotate, scale
from course_lib.measure import interval, paired
from course_lib.models import Network
from course_lib.preimage import MinimizeOptions, minimize
from course_lib.progress import bar
from course_lib.reproduce import runs

__all__ = ["BLUR", "LENGTHS", "METHODS", "RATES", "Method", "Run", "add_parsers", "best", "probability", "run", "table"]

SIDE, CLASSES = 96, 10  # CourseNet's
BLUR = 2.0  # of what the judge sees, standard deviation in pixels
RATES = (0.01, 0.05, 0.1)  # of Adam
LENGTHS = (25, 50)  # numbers of steps, each the beginning of the next
CHOSEN, REPORTED = "chosen on", "reported on"


# ---------------------------------------------------------------- what is compared


class Method(NamedTuple):
    """One way of keeping an image natural while a score is climbed.

    Attributes:
        image: (initial image (n, 3, h, w), seed) -> the unknown.
        options: For `minimize`: regularizer and transform.
        faster: By what its steps are longer than RATES: phases are angles, up to 3 from their goal and not 1/2.
    """

    image: Callable[[Tensor, int], Image]
    options: MinimizeOptions = {}
    faster: float = 1.0


def _pixels(*priors: images.Prior) -> Callable[[Tensor, int], Image]:
    return lambda start, seed: Pixels(start, priors=priors)


SHAKEN = compose(jitter(6), scale(0.9, 1.1), rotate(10))
#: What is compared, by name.
METHODS: dict[str, Method] = {
    "nothing": Method(_pixels()),
    "L2": Method(_pixels(), {"regularizer": 0.03 * alpha_norm(2)}),
    "total variation": Method(_pixels(), {"regularizer": 0.09 * total_variation()}),
    "blur": Method(_pixels(images.blur(1.0, every=4))),
    "jitter": Method(_pixels(), {"transform": jitter(6)}),
    "jitter, zoom, turn": Method(_pixels(), {"transform": SHAKEN}),
    "Yosinski's four": Method(
        _pixels(images.blur(1.0, every=4), images.clip_small_norm(15), images.clip_small_contribution(15)),
        {"regularizer": 0.003 * alpha_norm(2)},
    ),
    "Mahendran's four": Method(
        _pixels(images.bounded_range()),
        {"regularizer": 0.01 * alpha_norm(6) + 0.45 * total_variation(), "transform": jitter(6)},
    ),
    "Fourier": Method(lambda start, seed: Fourier(SIDE, SIDE, len(start), seed=seed), {"transform": SHAKEN}),
    "phase": Method(lambda start, seed: Phase(SIDE, SIDE, len(start), seed=seed), {"transform": SHAKEN}, 10.0),
}


# ---------------------------------------------------------------- the judge


@torch.no_grad()
def probability(judge: Network, x: Tensor, labels: Tensor, blur: float = BLUR) -> tuple[Tensor, Tensor]:
    """What a second network says of images, which are blurred before it sees them.

    Args:
        judge: The second network.
        x: (n, 3, h, w) in [0, 1].
        labels: (n,), the classes that the images were made for.
        blur: Standard deviation in pixels; 0 shows the images as they are.

    Returns:
        The probability of each image's class, (n,), and whether it is the largest, (n,) bool.
    """
    seen = gaussian_blur(x, 2 * round(3 * blur) + 1, blur) if blur else x
    logits = judge(seen)
    return logits.softmax(1).gather(1, labels[:, None])[:, 0], logits.argmax(1) == labels


class Run(NamedTuple):
    """One image after so many steps.

    Attributes:
        half: CHOSEN or REPORTED.
        method: Name of the method, a key of METHODS.
        rate: Of Adam.
        steps: One of LENGTHS.
        draw: Number of the random initial image.
        label: The class, 0 to 9.
        sharp: Whether the judge recognises the image as it is, 0 or 1.
        blurred: The judge's probability of the class, once the image is blurred.
        seen: Whether the judge recognises the blurred image, 0 or 1.
        seconds: How long the image took.
    """

    half: str
    method: str
    rate: float
    steps: int
    draw: int
    label: int
    sharp: int
    blurred: float
    seen: int
    seconds: float


def _climb(half: str, name: str, rate: float, lengths: Sequence[int], draws: Sequence[int]) -> list[Run]:
    """All ten classes from each of the initial images, judged after each length."""
    net, judge = models.load("coursenet"), models.load("coursenet", seed=1)
    labels = torch.arange(CLASSES).repeat(len(draws))
    number = torch.tensor(draws).repeat_interleave(CLASSES)
    start = torch.cat([_initial(draw) for draw in draws])
    image = METHODS[name].image(start, draws[0])
    engine = torch.optim.Adam(image.parameters(), lr=rate)
    found, seconds = [], 0.0
    for before, steps in zip((0, *lengths), lengths, strict=False):
        began = time.perf_counter()
        options: MinimizeOptions = {
            **METHODS[name].options,
            "steps": steps - before,
            "optimizer": engine,
            "seed": steps,
            "progress": False,
        }
        x = minimize(net, -1 * activation("", labels), image, **options).image
        seconds += (time.perf_counter() - began) / len(x)
        _, sharp = probability(judge, x, labels, 0)
        blurred, seen = probability(judge, x, labels)
        columns = zip(number.tolist(), labels.tolist(), sharp.tolist(), blurred.tolist(), seen.tolist(), strict=True)
        found += [Run(half, name, rate, steps, d, k, int(s), b, int(v), seconds) for d, k, s, b, v in columns]
    return found


def _initial(draw: int) -> Tensor:
    """Faint noise around grey, one image for each class."""
    noise = torch.randn(CLASSES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(draw))
    return (0.5 + 0.02 * noise).clamp(0, 1)


# ---------------------------------------------------------------- the command


def add_parsers(tables: Any) -> None:
    """The command ascent.

    Args:
        tables: The subparsers (`argparse`) that the command is added to.
    """
    one = tables.add_parser("ascent", help="regularisers of gradient ascent, each at its best step and length")
    one.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="by default all")
    one.add_argument("--draws", type=int, default=2, help="initial images that are reported, a class (default 2)")
    one.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Climb with each method at each rate, choose the best rate and length, and report it on other initial images.

    Args:
        given: The arguments of ascent, with `out`, the folder for the results: runs.csv, table.csv, curves.png.

    Raises:
        ValueError: draws < 1, or a folder that holds the runs of something else.
    """
    require(given.draws >= 1, f"draws must be at least 1, got {given.draws}")
    title = "ascent, CourseNet, 96 px"
    done = runs.stored(given.out / "runs.csv", Run, title)
    for name in bar(given.methods, desc="ascent"):
        for rate in RATES:
            _complete(done, given, CHOSEN, name, rate * METHODS[name].faster, LENGTHS, [0])
        rate, steps = best(done, name)
        short = [length for length in LENGTHS if length <= steps]
        _complete(done, given, REPORTED, name, rate, short, range(1, 1 + given.draws))
    runs.tabulate(given.out / "table.csv", title, table(done))
    curves(done).save(str(given.out / "curves.png"))


def _complete(
    done: list[Run],
    given: argparse.Namespace,
    half: str,
    name: str,
    rate: float,
    lengths: Sequence[int],
    draws: Sequence[int],
) -> None:
    """Climb from the initial images that are not done yet."""
    there = {(one.draw, one.steps) for one in done if (one.half, one.method, one.rate) == (half, name, rate)}
    left = [draw for draw in draws if not {(draw, steps) for steps in lengths} <= there]
    for draw in left:
        for one in _climb(half, name, rate, lengths, [draw]):
            if (one.draw, one.steps) not in there:
                done.append(one)
                runs.keep(given.out / "runs.csv", one)


def best(done: Sequence[Run], method: str) -> tuple[float, int]:
    """The rate and the number of steps after which the judge is surest of a method's blurred images.

    Args:
        done: The runs; those of the half CHOSEN count.
        method: A key of METHODS.

    Returns:
        Rate and steps with the largest mean of `Run.blurred`; of equals the fewest steps.

    Raises:
        ValueError: No such run.
    """
    of = [one for one in done if (one.half, one.method) == (CHOSEN, method)]
    require(len(of) > 0, f"no runs of {method!r} to choose from")
    settings = sorted({(one.rate, one.steps) for one in of}, key=lambda setting: (setting[1], setting[0]))
    return max(settings, key=lambda setting: _mean(of, *setting))


def _mean(of: Sequence[Run], rate: float, steps: int) -> float:
    values = [one.blurred for one in of if (one.rate, one.steps) == (rate, steps)]
    return sum(values) / len(values)


def table(done: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each method.

    Args:
        done: The runs.

    Returns:
        Rows {column: value}: the best rate and number of steps; on other initial images the share that the judge
        recognises as it is and blurred, with 95 % intervals; the mean probability, its difference from that of
        "nothing" on the same classes and draws, and Wilcoxon's p; and the seconds of an image.
    """
    rows = []
    reported = {name: _reported(done, name) for name in dict.fromkeys(one.method for one in done)}
    for name, of in reported.items():
        seen = interval(torch.tensor([bool(one.seen) for one in of.values()]))
        shared = sorted(of.keys() & reported.get("nothing", {}).keys()) if name != "nothing" else []
        over = (
            paired([of[key].blurred for key in shared], [reported["nothing"][key].blurred for key in shared])
            if len(shared) > 1
            else None
        )
        rate, steps = best(done, name)
        rows.append(
            {
                "method": name,
                "rate": rate,
                "steps": steps,
                "n": len(of),
                "as it is": str(interval(torch.tensor([bool(one.sharp) for one in of.values()]))),
                "blurred": str(seen),
                "probability": str(interval([one.blurred for one in of.values()])),
                "over nothing": str(over.difference) if over else "",
                "p": over.p if over else "",
                "seconds": sum(one.seconds for one in of.values()) / len(of),
            }
        )
    return rows


def _reported(done: Sequence[Run], name: str) -> dict[tuple[int, int], Run]:
    """The runs of a method at its best setting, on the other initial images, by draw and class."""
    setting = best(done, name)
    of = [one for one in done if (one.half, one.method) == (REPORTED, name)]
    return {(one.draw, one.label): one for one in of if (one.rate, one.steps) == setting}


def curves(done: Sequence[Run]) -> plotting.Shown:
    """The judge's probability against the rate, a line for each method, a chart for each number of steps.

    Args:
        done: The runs; those of the half CHOSEN are drawn.

    Returns:
        The figure.
    """
    names = list(dict.fromkeys(one.method for one in done))
    lengths = sorted({one.steps for one in done})

    def draw(axes: Any) -> None:
        for ax, steps in zip(axes, lengths, strict=True):
            for name, marker in zip(names, "osv^<>DPX*", strict=False):
                of = [one for one in done if (one.half, one.method) == (CHOSEN, name)]
                heights = [_mean(of, rate * METHODS[name].faster, steps) for rate in RATES]
                ax.plot(range(len(RATES)), heights, f"{marker}-", ms=5, label=name)
            ax.set(title=f"{steps} steps", ylim=(0, 1.03), xticks=range(len(RATES)), xticklabels=RATES)
            ax.set_xlabel("step size")
        axes[0].set_ylabel("probability of the class")
        axes[-1].set_yticklabels([])
        axes[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))

    return plotting.chart(draw, width=7.2, height=3.0, columns=len(lengths))
