"""Texture without a network: pixels copied from an exemplar wherever their surroundings match."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require
from course_lib.inputs import binary, check_images, plain, whole
from course_lib.progress import bar

__all__ = ["efros_leung", "scattered", "wei_levoy"]

TOLERANCE = 0.1  # every window up to this much worse than the best may be the one that is copied (Efros and Leung)
SEED = 3  # the side of the piece that the texture grows from
APART = 3  # pixels that are filled at once lie at least so far apart


# ---------------------------------------------------------------- Efros and Leung 1999


@torch.no_grad()
def efros_leung(
    exemplar: Tensor,
    size: tuple[int, int],
    window: int = 15,
    seed: int = 0,
    *,
    start: Tensor | None = None,
    known: Tensor | None = None,
    progress: bool = True,
) -> Tensor:
    """Grow a texture pixel by pixel, each copied from the exemplar where the pixels around it look alike.

    Candidates are all windows of the exemplar with ``d <= 1.1 min d``, and one of them, drawn at random, gives its
    middle pixel. ``d = sum g m (a - b)^2 / sum g m`` over the positions of the window, m = 1 where the image is known,
    g a Gaussian of standard deviation window / 6.4. Pixels with the most known neighbours come first.

    Args:
        exemplar: (1, 3, h, w) in [0, 1].
        size: Height H and width W of the result in pixels, each at least 3.
        window: Side of the window in pixels, odd, at least 3, at most the exemplar's shorter side. It decides how large
            a structure survives.
        seed: Of the random draws.
        start: An image (1, 3, H, W) of which a part is there already, to fill a hole or to grow from that part, which
            stays as it is; by default a random piece of 3 x 3 pixels of the exemplar in the middle.
        known: (1, 1, H, W), True where `start` counts. Needed with `start`, and only then.
        progress: Whether a run that lasts shows a bar.

    Returns:
        (1, 3, H, W), every pixel of it a pixel of the exemplar or a known one.

    Raises:
        TypeError: Not images, or numbers that are not whole.
        ValueError: An even window or one larger than the exemplar, a size below 3, only one of `start` and `known`,
            shapes that do not fit, or a mask that is nowhere true or holds other values than 0 and 1.

    Source: Efros and Leung 1999. Deviations: pixels of one round that lie 3 or more apart are filled at once, without
    seeing each other; the best match is taken however bad it is (their limit of 0.3 is never near for d in [0, 1]).

    Example:
        >>> stripes = (torch.arange(12) % 4 < 2).float().expand(1, 3, 12, 12)
        >>> efros_leung(stripes, (3, 8), window=7)[0, 0]
        tensor([[0., 1., 1., 0., 0., 1., 1., 0.],
                [0., 1., 1., 0., 0., 1., 1., 0.],
                [0., 1., 1., 0., 0., 1., 1., 0.]])
    """
    size, window = _check(exemplar, size, window)
    exemplar = plain(exemplar)
    generator = torch.Generator().manual_seed(int(whole(seed, "seed")))
    image, known = _initial(exemplar, size, start, known, generator)
    reach = window // 2
    patches = _windows(exemplar, window)  # (m, 3 window^2)
    middles = patches.view(len(patches), 3, -1)[:, :, window * window // 2]  # (m, 3)
    weights = _gaussian(window, window / 6.4).flatten().repeat(3).to(image)  # (3 window^2,)
    squares = (weights * patches.square()).T  # (3 window^2, m)
    products = (weights * patches).T
    canvas, there = F.pad(image * known, (reach,) * 4), F.pad(known.to(image.dtype), (reach,) * 4)
    with bar(total=int((~known).sum()), shown=progress, desc="growing", unit="px") as grown:
        while not bool(there[..., reach:-reach, reach:-reach].all()):
            for rows, columns in _frontier(there[0, 0, reach:-reach, reach:-reach]):
                seen, mask = (_around(a, rows, columns, window) for a in (canvas, there.expand(-1, 3, -1, -1)))
                d = mask @ squares - 2 * (seen @ products)  # what it lacks is the same for every candidate
                d = (d + (weights * seen.square()).sum(1, keepdim=True)).clamp(min=0)  # (pixels, m)
                chosen = _one_of_the_best(d, generator)
                canvas[0, :, rows + reach, columns + reach] = middles[chosen].T
                there[0, 0, rows + reach, columns + reach] = 1
                grown.update(len(rows))
    return canvas[..., reach:-reach, reach:-reach].clone()


def _check(exemplar: Tensor, size: tuple[int, int], window: int) -> tuple[tuple[int, int], int]:
    """The size and the window as ints, once they fit the exemplar."""
    check_images(exemplar)
    require(len(exemplar) == 1, f"one exemplar at a time, got {len(exemplar)}")
    require(len(size) == 2, f"a size is (height, width), got {size!r}")
    height, width = (int(whole(side, "size")) for side in size)
    window = int(whole(window, "window"))
    require(window % 2 == 1 and window >= 3, f"a window is odd and at least 3, so that it has a middle; got {window}")
    fits = window <= min(exemplar.shape[2:])
    require(fits, f"a window of {window} does not fit an exemplar of {exemplar.shape[2]} x {exemplar.shape[3]}")
    require(min(height, width) >= SEED, f"a texture has at least {SEED} pixels a side, got {height} x {width}")
    return (height, width), window


def _initial(
    exemplar: Tensor, size: tuple[int, int], start: Tensor | None, known: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The initial image, (1, 3, *size), and where it is known, (1, 1, *size) bool."""
    if (start is None) != (known is None):
        raise ValueError("start and known belong together: an image, and the mask of what of it is known")
    if start is not None and known is not None:
        check_images(start)
        require(start.shape == (1, 3, *size), f"start is (1, 3, {size[0]}, {size[1]}), got {tuple(start.shape)}")
        require(known.shape == (1, 1, *size), f"known is (1, 1, {size[0]}, {size[1]}), got {tuple(known.shape)}")
        known = binary(known, "known")
        require(bool(known.any()), "known is nowhere true: there is nothing to grow from")
        return start.to(exemplar), known.to(exemplar.device)
    image, there = exemplar.new_zeros(1, 3, *size), torch.zeros(1, 1, *size, dtype=torch.bool, device=exemplar.device)
    y, x = (int(torch.randint(side - SEED + 1, (), generator=generator)) for side in exemplar.shape[2:])
    top, left = ((side - SEED) // 2 for side in size)
    image[..., top : top + SEED, left : left + SEED] = exemplar[..., y : y + SEED, x : x + SEED]
    there[..., top : top + SEED, left : left + SEED] = True
    return image, there


def _windows(image: Tensor, window: int) -> Tensor:
    """Every window of an image (1, c, h, w), one a row: (m, c window^2)."""
    return F.unfold(image, window)[0].T.contiguous()


def _gaussian(window: int, sigma: float) -> Tensor:
    """A Gaussian around the middle of a window, 1 there: (window, window)."""
    along = torch.exp(-0.5 * ((torch.arange(window) - window // 2) / sigma) ** 2)
    return along[:, None] * along


def _around(padded: Tensor, rows: Tensor, columns: Tensor, window: int) -> Tensor:
    """The windows around some pixels of an image that was padded by their reach: (pixels, c window^2)."""
    offsets = torch.arange(window, device=padded.device)
    y, x = rows[:, None, None] + offsets[:, None], columns[:, None, None] + offsets  # (pixels, window, window), in all
    return padded[0][:, y, x].transpose(0, 1).flatten(1)


def _frontier(there: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The unknown pixels beside known ones, in groups of pixels that lie apart; most known neighbours first."""
    neighbours = F.conv2d(there[None, None], there.new_ones(1, 1, 3, 3), padding=1)[0, 0] * (1 - there)
    rows, columns = neighbours.nonzero().T
    phase = rows % APART * APART + columns % APART
    groups = [(phase == p).nonzero()[:, 0] for p in range(APART * APART)]
    groups = sorted((g for g in groups if len(g)), key=lambda g: -float(neighbours[rows[g], columns[g]].mean()))
    return [(rows[g], columns[g]) for g in groups]


def _one_of_the_best(d: Tensor, generator: torch.Generator) -> Tensor:
    """For each row a random one of the columns that are nearly as small as its smallest."""
    good = d <= (1 + TOLERANCE) * d.amin(1, keepdim=True) + 1e-6
    return torch.where(good, torch.rand(d.shape, generator=generator).to(d), -1.0).argmax(1)


# ---------------------------------------------------------------- Wei and Levoy 2000


@torch.no_grad()
def wei_levoy(
    exemplar: Tensor, size: tuple[int, int], window: int = 5, levels: int = 3, seed: int = 0, *, progress: bool = True
) -> Tensor:
    """Noise turned into a texture, from coarse to fine: each pixel becomes the one with the most alike surroundings.

    ``x(p) = e(argmin over q of |N(x, p) - N(e, q)|^2)``, e the exemplar, N the pixels before p in reading order in a
    window around it (an L of (window^2 - 1) / 2 positions), and all pixels of a window around the same position one
    level coarser. Both images are taken as a torus: the right border continues at the left.

    Args:
        exemplar: (1, 3, h, w) in [0, 1].
        size: Height H and width W of the result in pixels, multiples of ``2^(levels - 1)``.
        window: Side of the window in pixels, odd, at least 3, at most the shorter side of the coarsest exemplar.
        levels: Of the pyramid, halved from one to the next; 1 is the image alone.
        seed: Of the initial noise, which has the exemplar's colours.
        progress: Whether a run that lasts shows a bar.

    Returns:
        (1, 3, H, W), every pixel of it one of the exemplar's.

    Raises:
        TypeError: Not an image, or numbers that are not whole.
        ValueError: An even window, one larger than the coarsest exemplar, levels < 1, or a size that cannot be halved
            so often.

    Source: Wei and Levoy 2000, with their exhaustive search. Deviation: rows are begun before the one above has ended
    (a wave runs over the image), so that a few positions at the left border see noise where the original sees the end
    of the row above.
    """
    levels = int(whole(levels, "levels"))
    require(levels >= 1, f"levels must be at least 1, got {levels}")
    size, window = _check(exemplar, size, window)
    exemplar = plain(exemplar)
    factor = 2 ** (levels - 1)
    require(
        all(side % factor == 0 for side in size),
        f"a pyramid of {levels} levels needs sides that are multiples of {factor}, got {size[0]} x {size[1]}",
    )
    height, width = (side // factor * factor for side in exemplar.shape[2:])
    pyramid = [exemplar[..., :height, :width]]
    for _ in range(levels - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    least = min(pyramid[-1].shape[2:])
    require(window <= least, f"a window of {window} does not fit the coarsest level, whose shorter side is {least}")
    generator = torch.Generator().manual_seed(int(whole(seed, "seed")))
    coarse, result = None, exemplar
    with bar(total=levels, shown=progress, desc="levels") as done:
        for level in reversed(range(levels)):
            side = size[0] >> level, size[1] >> level
            noise = scattered(pyramid[level], side, generator)
            result = _scan(pyramid[level], noise, window, coarse)
            coarse = (pyramid[level], result)
            done.update()
    return result


def scattered(exemplar: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """White noise with the colours of an exemplar: its pixels, drawn at random with replacement.

    Args:
        exemplar: (1, 3, h, w).
        size: Height H and width W of the noise in pixels.
        generator: Draws them, on the CPU.

    Returns:
        (1, 3, H, W), on the exemplar's device.

    Example:
        >>> two = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
        >>> scattered(two, (1, 5), torch.Generator().manual_seed(0))[0, 0]
        tensor([[0., 1., 1., 0., 1.]])
    """
    colours = exemplar[0].flatten(1)  # (3, h w)
    drawn = torch.randint(colours.shape[1], (size[0] * size[1],), generator=generator)
    return colours[:, drawn.to(colours.device)].view(1, 3, *size)


def _scan(exemplar: Tensor, image: Tensor, window: int, coarse: tuple[Tensor, Tensor] | None) -> Tensor:
    """One level, from an initial image. coarse: the exemplar and the result of the level before."""
    before = window * window // 2  # positions of the window that come earlier in reading order
    known = _torus(exemplar, window)[:, :, :before].flatten(1)  # (m, 3 before)
    if coarse is not None:
        known = torch.cat([known, _parents(coarse[0], exemplar, window)], 1)
    colours, length = exemplar[0].flatten(1), known.square().sum(1)
    parents = None if coarse is None else _parents(coarse[1], image, window)
    height, width = image.shape[2:]
    reach = window // 2
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    wave = ((reach + 1) * y + x).flatten()  # a pixel only sees those of earlier waves
    order = wave.argsort(stable=True)
    offsets = torch.cartesian_prod(torch.arange(-reach, reach + 1), torch.arange(-reach, reach + 1))[:before]
    image = image.clone()
    for positions in order.tensor_split(wave.bincount().cumsum(0)[:-1]):
        rows = (positions[:, None] // width + offsets[:, 0]) % height  # (pixels, before)
        columns = (positions[:, None] % width + offsets[:, 1]) % width
        seen = image[0][:, rows, columns].transpose(0, 1).flatten(1)  # (pixels, 3 before)
        if parents is not None:
            seen = torch.cat([seen, parents[positions]], 1)
        nearest = torch.addmm(length, seen, known.T, alpha=-2).argmin(1)
        image[0][:, positions // width, positions % width] = colours[:, nearest]
    return image


def _torus(image: Tensor, window: int) -> Tensor:
    """The window around each position, on a torus: (positions, 3, window^2)."""
    around = F.pad(image, (window // 2,) * 4, mode="circular")
    return _windows(around, window).view(-1, 3, window * window)


def _parents(coarse: Tensor, fine: Tensor, window: int) -> Tensor:
    """The whole window around each position of `fine`, one level coarser: (positions, 3 window^2)."""
    windows = _torus(coarse, window).flatten(1)
    height, width = fine.shape[2:]
    rows, columns = torch.arange(height) // 2, torch.arange(width) // 2
    return windows[(rows[:, None] * coarse.shape[3] + columns).flatten()]
