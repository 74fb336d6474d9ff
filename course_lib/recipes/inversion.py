"""Images from their codes: the same code on another image, or from noise."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from course_lib.descriptors import straight_through
from course_lib.energy import Activations, Energy, alpha_norm, distance, total_variation
from course_lib.errors import check_options, require
from course_lib.images import Image, Pixels
from course_lib.inputs import tensor
from course_lib.optimizers import ForgetfulAdaGrad
from course_lib.preimage import Features, MakeOptimizer, Preimage, StageOptions, minimize_in_stages
from course_lib.recipes.given import descending
from course_lib.taps import Named

__all__ = [
    "ADAM_IN_STAGES",
    "BOUND",
    "CONTRAST",
    "Stages",
    "inversion_2015",
    "inversion_2016",
    "invert",
    "match",
    "natural",
]

#: Root mean square of natural images about their mean (Mahendran and Vedaldi 2015, the published code).
CONTRAST = 68.9 / 255
#: The |x| at which their alpha-norm costs as much as a code of zeros.
BOUND = 151 / 255
#: (optimizer, steps) pairs, one after the other.
Stages = Sequence[tuple[MakeOptimizer, int]]
_RATES = ((0.1, 60), (0.05, 60), (0.02, 80), (0.01, 60), (0.003, 60), (0.001, 40))
#: Adam in six falling rates: what `invert` takes by default.
ADAM_IN_STAGES: Stages = tuple((partial(torch.optim.Adam, lr=rate), steps) for rate, steps in _RATES)


def invert(
    features: nn.Module | Features,
    x: Tensor,
    *,
    target: Tensor | Mapping[str, Tensor] | None = None,
    smoothness: float = 0.5,
    restarts: int = 1,
    image: Image | None = None,
    stages: Stages = ADAM_IN_STAGES,
    bridge: bool = True,
    **options: Unpack[StageOptions],
) -> Preimage:
    """Natural images with the code of x: ``argmin_y |f(y) - f(x)|^2 / |f(x)|^2 + R(y)``, R = ``natural(smoothness)``.

    Args:
        features: Images -> code: ``HOG()``, ``Taps(net, "conv3", "fc6")`` (the sum over its layers), any module or
            function. The code of a network is its output.
        x: (n, 3, h, w) in [0, 1].
        target: Another code to aim at, a tensor or tensors by layer. Only the size of x is then used.
        smoothness: The weight lambda_V in R: 0.5, 5 and 50 from shallow to deep layers.
        restarts: Number of random initialisations per image; row ``i * restarts + j`` of the result holds the j-th of
            image i.
        image: The unknown; by default pixels, initially noise as strong as a natural image.
        stages: (optimizer, steps) pairs. The default lets each image of a batch descend as it would alone;
            `inversion_2015` and `inversion_2016` are the published ones. L-BFGS takes a third of the time or less for
            one image, to the same error in a first layer, up to three times the error in others (bench/inversion.py).
        bridge: Cross the zero gradients of HOG and DenseSIFT (`descriptors.straight_through`); off for L-BFGS.
        options: For `minimize`: regularizer (takes R's place; over any layers where the features are a network or its
            `Taps`), transform (only the data term sees it), seed (of the noise and the transform) and progress.

    Returns:
        The images (n * restarts, 3, h, w), and each term's history.

    Raises:
        TypeError: An unknown option, and images of another dtype than the network's.
        ValueError: A code that is zero (a constant image has no HOG), a target of another shape, and restarts < 1.
        Interrupted: Ctrl-C; it holds the images so far.

    Source: Mahendran and Vedaldi 2015, eq. 3. Deviation: Adam in stages.

    Example:
        >>> from course_lib import models, world
        >>> from course_lib.energy import squared_norm
        >>> from course_lib.taps import Taps
        >>> features, few = Taps(models.load("coursenet"), "conv3"), ADAM_IN_STAGES[:1]
        >>> regularizer = natural(96, 96) + 1e-6 * squared_norm("conv1")
        >>> found = invert(features, world.draw(1).images, stages=few, regularizer=regularizer)
        >>> found.energy["distance"][-1] < 0.5
        True
    """
    own = ("target", "smoothness", "restarts", "image", "stages", "bridge")
    given = check_options("invert", options, StageOptions, beside=own)
    require(restarts >= 1, f"restarts must be at least 1, got {restarts}")
    with descending(features, x) as (features, (x,), restore):
        code = _code(features, x) if target is None else {"": target} if isinstance(target, Tensor) else target
        _check_codes(code)
        aims = {layer: value.repeat_interleave(restarts, 0) for layer, value in code.items()}
        height, width = x.shape[2:]
        if image is None:
            generator = torch.Generator().manual_seed(given.get("seed", 0))
            noise = torch.randn(len(x) * restarts, 3, height, width, generator=generator)
            image = Pixels((0.5 + CONTRAST * noise).clamp(0, 1).to(x))
        given = {"regularizer": natural(height, width, smoothness), **given}
        with straight_through() if bridge else nullcontext():
            return restore(minimize_in_stages(features, distance(aims), image, stages, **given))


@torch.no_grad()
def _code(features: nn.Module | Features, x: Tensor) -> Activations:
    """The code of images by layer; that of a network is its output, layer ""."""
    output: object = features(x)
    if isinstance(output, Mapping) and (isinstance(features, Named) or not isinstance(features, nn.Module)):
        return output
    return {"": tensor(output, "the function of features")}


def _check_codes(code: Activations) -> None:
    for layer, value in code.items():
        silent = (value.flatten(1) == 0).all(1).nonzero().flatten().tolist()
        what = f"the code in layer {layer!r}" if layer else "the code"
        require(not silent, f"{what} is zero for images {silent}: there is nothing in it to invert")


def natural(height: int, width: int, smoothness: float = 0.5) -> Energy:
    """``mean |(x - 1/2) / 0.59|^6 + smoothness mean |grad x|^2 / 0.27^2``, over positions and channels: R of eq. 3.

    ``lambda_alpha R_alpha + lambda_V R_V`` of the source, equal at its 227 pixels, for images in [0, 1] of any size.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        smoothness: Their lambda_V: 0.5, 5 and 50 from shallow to deep layers.

    Returns:
        An energy of two terms.

    Source: Mahendran and Vedaldi 2015. Deviation: none but the size.
    """
    values = 3 * height * width
    return (1 / values / BOUND**6) * alpha_norm() + (smoothness / values / CONTRAST**2) * total_variation()


def inversion_2015(height: int, width: int, *, rate: float = 0.004, steps: Sequence[int] = (100, 200, 100)) -> Stages:
    """Momentum 0.9, a rate that falls to a tenth in each stage, and a fresh memory in each.

    Their unknown has norm one; here it has ``s = 0.27 sqrt(3 height width)``, so that the rate grows by ``s^2``.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        rate: Of the first stage, for an unknown of norm one.
        steps: Of each stage. They take (200, 200, 200, 200) for HOG and DSIFT.

    Returns:
        Stages for `invert`.

    Source: Mahendran and Vedaldi 2015. Deviation: none.
    """
    scale = 3 * height * width * CONTRAST**2
    return [(partial(torch.optim.SGD, lr=rate * 0.1**k * scale, momentum=0.9), n) for k, n in enumerate(steps)]


def inversion_2016(height: int, width: int) -> Stages:
    """300 steps of ForgetfulAdaGrad at ``0.05 B^2 height width / 6``, then 50 at a tenth of it.

    B = 80 of 255 levels, in which they step. Their jitter is the caller's `transform`, and would be off in the last 50.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        Stages for `invert`.

    Source: Mahendran and Vedaldi 2016. Deviation: none.
    """
    rate = 0.05 * 80**2 * height * width / 6
    return [(partial(_InLevels, lr=rate / 255), 300), (partial(_InLevels, lr=rate / 2550), 50)]


class _InLevels(ForgetfulAdaGrad):
    """The published step, in levels of 0 ... 255, for images in [0, 1]."""

    def change(self, x: nn.Parameter, group: dict[str, Any]) -> Tensor:
        return super().change(x, group) / 255


def match(
    features: nn.Module | Features,
    start: Tensor,
    goal: Tensor,
    *,
    radius: float | None = None,
    rates: Sequence[float] = (0.01, 0.005, 0.003, 0.002, 0.001, 0.0005, 0.0002),
    steps: int = 400,
    bridge: bool = True,
    **options: Unpack[StageOptions],
) -> Preimage:
    """An image with the code of `goal`, near `start`: ``argmin_x |f(x) - f(goal)|^2 / |f(goal)|^2`` from there.

    What keeps the image like the initial one is that the descent begins there, the radius if one is given, and a
    regularizer. HOG reads each pixel's steepest colour alone: a regularizer that holds two of the three lets them go
    on showing the initial image.

    Args:
        features: As in `invert`.
        start: The initial images, (n, 3, h, w) in [0, 1].
        goal: The images whose code is aimed at, (n, 3, h, w) or (1, 3, h, w) in [0, 1].
        radius: Largest change of each colour value; by default any.
        rates: Adam's step sizes in turn. Each begins with a fresh memory: that shakes the image out of the kinks where
            orientations change their bin, and small rates let it settle.
        steps: Number of steps with each rate.
        bridge: Cross the zero gradients of HOG and DenseSIFT (`descriptors.straight_through`). Slower but closer, for
            bilinear bins: without a bridge, first ``HOG(bilinear=True, clamp=inf)``, then the clamped code from there.
        options: For `minimize`: regularizer (over any layers where the features are a network or its `Taps`),
            transform, seed (of the transform) and progress.

    Returns:
        The images, and each term's history.

    Raises:
        TypeError: An unknown option, and images of another dtype than the network's.
        ValueError: No rates, and as `invert`.
        Interrupted: Ctrl-C; it holds the images so far.

    Source: Tatu 2011. Deviation: he takes plain gradient steps.
    """
    own = ("radius", "rates", "steps", "bridge")
    given = check_options("match", options, StageOptions, beside=own)
    require(len(rates) > 0, "rates must name at least one step size")
    stages = [(partial(torch.optim.Adam, lr=rate), steps) for rate in rates]
    with descending(features, start, goal) as (features, (start, goal), restore):
        code = _code(features, goal)
        _check_codes(code)
        with straight_through() if bridge else nullcontext():
            return restore(minimize_in_stages(features, distance(code), Pixels(start, radius), stages, **given))
