"""Pictures from their codes: the same code on another picture, or from noise."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.descriptors import straight_through
from course_lib.energy import Energy, alpha_norm, distance, total_variation
from course_lib.errors import require
from course_lib.images import Image, Pixels
from course_lib.inputs import check_images
from course_lib.optimizers import ForgetfulAdaGrad
from course_lib.preimage import MakeOptimizer, Preimage, minimize_in_stages

CONTRAST = 68.9 / 255  # root mean square of natural pictures about their mean (Mahendran and Vedaldi 2015, the code)
BOUND = 151 / 255  # the |x| at which their alpha-norm costs as much as a code of zeros
Stages = Sequence[tuple[MakeOptimizer, int]]
_RATES = ((0.1, 60), (0.05, 60), (0.02, 80), (0.01, 60), (0.003, 60), (0.001, 40))
ADAM_IN_STAGES: Stages = tuple((partial(torch.optim.Adam, lr=rate), steps) for rate, steps in _RATES)


def invert(
    features: Callable[[Tensor], Tensor | dict[str, Tensor]],
    x: Tensor,
    *,
    target: Tensor | Mapping[str, Tensor] | None = None,
    smoothness: float = 0.5,
    restarts: int = 1,
    image: Image | None = None,
    stages: Stages = ADAM_IN_STAGES,
    bridge: bool = True,
    seed: int = 0,
    **options: Any,
) -> Preimage:
    """Natural pictures with the code of x: argmin_y |f(y) - f(x)|^2 / |f(x)|^2 + R(y), R = `natural(smoothness)`.

    features: pictures -> code: HOG(), Taps(net, "conv3", "fc6") (the sum over its layers), any module or function.
    x: (n, 3, h, w) in [0, 1]. target: another code to aim at; x then gives no more than the size.
    restarts: so many starts for each picture, (n * restarts, 3, h, w), those of one picture side by side.
    image: the unknown; by default pixels, at first noise as strong as a natural picture.
    stages: (optimizer, steps) pairs; by default Adam in six falling rates, which lets each picture of a batch descend
        as it would alone; `inversion_2015` and `inversion_2016` are the published ones. L-BFGS takes a third of the
        time or less for one picture, to the same error in a first layer, up to three times the error in others
        (bench/inversion.py).
    bridge: cross the zero slopes of HOG and DenseSIFT (`descriptors.straight_through`); off for L-BFGS.
    seed: of the noise and the transform.
    options: for `minimize`; a `regularizer` among them takes R's place. A transform is seen by the data term alone.

    Raises ValueError for a code that is zero (a constant picture has no HOG), for a target of another shape, and for
    restarts < 1. Source: Mahendran and Vedaldi 2015, eq. 3.
    """
    check_images(x)
    require(restarts >= 1, f"restarts must be at least 1, got {restarts}")
    with torch.no_grad():
        code = features(x) if target is None else target
    named = {"": code} if isinstance(code, Tensor) else code
    for layer, value in named.items():
        silent = (value.flatten(1) == 0).all(1).nonzero().flatten().tolist()
        what = f"the code in layer {layer!r}" if layer else "the code"
        require(not silent, f"{what} is zero for pictures {silent}: there is nothing in it to invert")
    aims = {layer: value.repeat_interleave(restarts, 0) for layer, value in named.items()}
    height, width = x.shape[2:]
    if image is None:
        noise = torch.randn(len(x) * restarts, 3, height, width, generator=torch.Generator().manual_seed(seed))
        image = Pixels((0.5 + CONTRAST * noise).clamp(0, 1).to(x))
    options = {"regularizer": natural(height, width, smoothness), "seed": seed} | options
    with straight_through() if bridge else nullcontext():
        return minimize_in_stages(features, distance(aims), image, stages, **options)


def natural(height: int, width: int, smoothness: float = 0.5) -> Energy:
    """mean |(x - 1/2) / 0.59|^6 + smoothness mean |grad x|^2 / 0.27^2, over places and channels: R of eq. 3.

    lambda_alpha R_alpha + lambda_V R_V of Mahendran and Vedaldi 2015, equal at their 227 pixels, for pictures in [0, 1]
    of any size. smoothness is their lambda_V: 0.5, 5 and 50 from shallow to deep layers.
    """
    values = 3 * height * width
    return (1 / values / BOUND**6) * alpha_norm() + (smoothness / values / CONTRAST**2) * total_variation()


def inversion_2015(height: int, width: int, *, rate: float = 0.004, steps: Sequence[int] = (100, 200, 100)) -> Stages:
    """Mahendran and Vedaldi 2015: momentum 0.9, a rate that falls to a tenth in each stage, and a fresh start in each.

    Their unknown has norm one; here it has s = 0.27 sqrt(3 height width), so that the rate grows by s^2.
    They take steps (200, 200, 200, 200) for HOG and DSIFT.
    """
    scale = 3 * height * width * CONTRAST**2
    return [(partial(torch.optim.SGD, lr=rate * 0.1**k * scale, momentum=0.9), n) for k, n in enumerate(steps)]


def inversion_2016(height: int, width: int) -> Stages:
    """Mahendran and Vedaldi 2016: 300 steps of ForgetfulAdaGrad at 0.05 B^2 height width / 6, then 50 at a tenth.

    B = 80 of 255 levels, in which they step. Their jitter is the caller's `transform`, and would be off in the last 50.
    """
    rate = 0.05 * 80**2 * height * width / 6
    return [(partial(_InLevels, lr=rate / 255), 300), (partial(_InLevels, lr=rate / 2550), 50)]


class _InLevels(ForgetfulAdaGrad):
    """The published step, in levels of 0 ... 255, for pictures in [0, 1]."""

    def change(self, x: nn.Parameter, group: dict[str, Any]) -> Tensor:
        return super().change(x, group) / 255


def match(
    features: Callable[[Tensor], Tensor | dict[str, Tensor]],
    start: Tensor,
    goal: Tensor,
    *,
    radius: float | None = None,
    rates: Sequence[float] = (0.01, 0.005, 0.003, 0.002, 0.001, 0.0005, 0.0002),
    steps: int = 400,
    bridge: bool = True,
    **options: Any,
) -> Preimage:
    """A picture with the code of `goal`, near `start`: argmin_x |f(x) - f(goal)|^2 / |f(goal)|^2, by descent from it.

    start, goal: (n, 3, h, w) in [0, 1]. What keeps the picture like the start is that the descent begins there, the
    `radius` in every pixel if one is given, and a regularizer among the options, which are for `minimize`.
    rates: Adam's step sizes in turn, `steps` steps with each. Each begins with a fresh memory: that shakes the picture
    out of the kinks where orientations change their bin, and small rates let it settle.

    bridge: cross the zero slopes of HOG and DenseSIFT (`descriptors.straight_through`). Slower but closer, for bilinear
    bins: without a bridge, first `HOG(bilinear=True, clamp=inf)`, then the clamped code from there. HOG reads each
    pixel's steepest colour alone: a regularizer that holds two of the three lets them go on showing the start.
    Raises ValueError for no rates. Source: Tatu 2011, who takes plain gradient steps.
    """
    require(len(rates) > 0, "rates must name at least one step size")
    with torch.no_grad():
        loss = distance(features(goal))
    stages = [(partial(torch.optim.Adam, lr=rate), steps) for rate in rates]
    with straight_through() if bridge else nullcontext():
        return minimize_in_stages(features, loss, Pixels(start, radius), stages, **options)
