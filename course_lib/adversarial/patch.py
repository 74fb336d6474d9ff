"""A small visible square that fools a network wherever it is put."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import inputs
from course_lib.adversarial.given import in_range
from course_lib.errors import require
from course_lib.inputs import Label, check_range, count, number, ready
from course_lib.progress import bar

Position = tuple[int, int]  # row and column of the upper left corner


def patch(
    net: nn.Module,
    x: Tensor,
    target: Label,
    side: int,
    *,
    at: Position | None = None,
    steps: int = 100,
    rate: float = 0.05,
    batch: int = 8,
    seed: int = 0,
) -> Tensor:
    """One square of colours that turns all images into a class: ``min over p in [0, 1] of mean J(x with p, target)``.

    The mean is over the images and, unless `at` is given, over all positions. Nothing holds the colours near the
    image's own: the patch is small and may be seen.

    Args:
        net: As in `pgd`.
        x: Images to learn from, (n, 3, h, w), as in `pgd`.
        target: The class to reach, one for all images or one for each, as `label` in `pgd`.
        side: Of the square, in pixels, from 1 to the smaller side of the images.
        at: Row and column of its upper left corner; by default another random position in each step, the same for the
            images of that step.
        steps: Of Adam, at least 1.
        rate: Of Adam, above 0; it falls to zero along a half cosine.
        batch: How many images a step takes, at random, at least 1.
        seed: Of the batches and positions.

    Returns:
        (1, 3, side, side) in [0, 1]; `paste` puts it into images.

    Raises:
        TypeError: As `pgd`.
        ValueError: As `pgd`, images that are not (n, 3, h, w), and a side or a position that is not inside.

    Source: Brown 2017, equation 1. Deviation: positions are drawn, turns and sizes are not.

    Example:
        >>> from course_lib import models, world
        >>> net, scenes = models.load("coursenet"), world.draw(8, seed=4)
        >>> square = patch(net, scenes.images, "star", 32, at=(32, 32), steps=40)
        >>> found = net(paste(scenes.images, square, (32, 32))).argmax(1)
        >>> bool((found == net.index("star")).float().mean() > 0.8)
        True
    """
    steps, batch, rate = count(steps, "steps"), count(batch, "batch"), number(rate, "rate", 0, low_is_in=False)
    generator = torch.Generator().manual_seed(seed)
    with ready(net, x, target) as (net, x, targets):
        x, side = in_range(net, x), _inside(x, side, at)
        check_range(targets, inputs.logits(net, x[:1]).shape[1], "class of the output")
        targets = targets.to(x.device)
        square = torch.full((1, x.shape[1], side, side), 0.5, dtype=x.dtype, device=x.device, requires_grad=True)
        engine = torch.optim.Adam([square], lr=rate)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(engine, steps)
        for _ in bar(range(steps), desc="patch", unit="step"):
            rows = torch.randint(len(x), (batch,), generator=generator)
            position = at if at is not None else random_place(x, side, generator)
            logits = inputs.logits(net, paste(x[rows], square, position))
            loss = F.cross_entropy(logits, targets[rows])
            (square.grad,) = torch.autograd.grad(loss, square)
            engine.step()
            fall.step()
            square.data.clamp_(0, 1)
        return square.detach()


def paste(x: Tensor, square: Tensor, at: Position) -> Tensor:
    """Images with a square put over a part of them.

    Args:
        x: (n, c, h, w).
        square: (1, c, side, side), such as `patch` makes.
        at: Row and column of its upper left corner.

    Returns:
        Shaped as x, a copy; gradients reach the square.

    Raises:
        ValueError: A square of another shape, or one that is not inside the images.
    """
    fits = square.dim() == x.dim() == 4 and len(square) == 1 and square.shape[1] == x.shape[1]
    require(fits, f"a square is (1, {x.shape[1] if x.dim() > 1 else 'c'}, side, side), got {tuple(square.shape)}")
    row, column = at
    height, width = square.shape[2:]
    inside = 0 <= row <= x.shape[2] - height and 0 <= column <= x.shape[3] - width
    require(inside, f"a square of {height} x {width} at {row}, {column} is not inside {tuple(x.shape[2:])}")
    pasted = x.clone()
    pasted[:, :, row : row + height, column : column + width] = square.to(x.dtype)
    return pasted


def random_place(x: Tensor, side: int, generator: torch.Generator) -> Position:
    """Where a square can lie inside the images, each position as likely as the others.

    Args:
        x: (n, c, h, w).
        side: Of the square.
        generator: On the CPU.

    Returns:
        Row and column of its upper left corner.
    """
    row, column = (int(torch.randint(edge - side + 1, (), generator=generator)) for edge in x.shape[2:])
    return row, column


def _inside(x: Tensor, side: int, at: Position | None) -> int:
    """The side, checked."""
    require(x.dim() == 4, f"a patch lies on images (n, 3, h, w), got {tuple(x.shape)}")
    side, least = count(side, "side"), min(x.shape[2:])
    require(side <= least, f"side must be at most {least}, the smaller side of the images, got {side}")
    if at is not None:
        paste(x[:1], x.new_zeros(1, x.shape[1], side, side), at)
    return side
