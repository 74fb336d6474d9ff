"""Maps of codes: PCA, t-SNE, the image grid."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from course_lib.embedding.table import BLOCK, different, finite
from course_lib.errors import require

if TYPE_CHECKING:  # openTSNE, scikit-learn and SciPy take a second to import, and most of the package needs none
    from openTSNE.affinity import Affinities


def pca(codes: Tensor, components: int = 2) -> Tensor:
    """Coordinates along the directions of largest variance, by scikit-learn's exact solver.

    Args:
        codes: (n, d), finite and not all the same.
        components: Number of directions, from 1 to min(n, d).

    Returns:
        (n, components), centred, in the order of falling variance. The sign of each direction is a convention.

    Raises:
        ValueError: More components than min(n, d), codes that are not finite or all the same, another shape.

    Example:
        >>> pca(torch.tensor([[0.0, 3.0], [0.0, 1.0], [0.0, 8.0]]), 1).abs().round().flatten().tolist()
        [1.0, 3.0, 4.0]
    """
    from sklearn.decomposition import PCA

    codes = different(codes)
    require(1 <= components <= min(codes.shape), f"components must be from 1 to {min(codes.shape)}, got {components}")
    return torch.from_numpy(PCA(components, svd_solver="full").fit_transform(codes.cpu().numpy()))


def _affinities(codes: np.ndarray, perplexity: float, seed: int) -> "Affinities":
    from openTSNE.affinity import PerplexityBasedNN

    n = len(codes)
    # beyond n / 3 the 3 * perplexity neighbours that t-SNE looks at are more than there are
    require(1 < perplexity < n / 3, f"perplexity must be above 1 and below n / 3 = {n / 3:.1f}, got {perplexity}")
    return PerplexityBasedNN(codes, perplexity, method="exact" if n <= BLOCK else "approx", random_state=seed)


def tsne(codes: Tensor, perplexity: float = 30.0, seed: int = 0) -> Tensor:
    """A map in which neighbours stay neighbours, by openTSNE.

    It starts at the codes' PCA, so that the large arrangement means something (Kobak and Berens 2019).

    Args:
        codes: (n, d), finite and not all the same.
        perplexity: About how many neighbours each code should have, above 1 and below n / 3.
        seed: Settles what is random; one seed gives one map.

    Returns:
        (n, 2) float64.

    Raises:
        ValueError: Codes that are not finite or all the same, another shape, a perplexity out of range.

    Source: van der Maaten and Hinton 2008. Deviation: openTSNE's Barnes-Hut forces (van der Maaten 2014), 250 steps
    with early exaggeration and 500 without.
    """
    from openTSNE import TSNEEmbedding, initialization

    rows = different(codes).cpu().double().numpy()
    affinities = _affinities(rows, perplexity, seed)
    initial = initialization.pca(rows, random_state=seed)
    embedding = TSNEEmbedding(initial, affinities, negative_gradient_method="bh", random_state=seed)
    embedding.optimize(250, exaggeration=12, momentum=0.5, inplace=True)
    embedding.optimize(500, momentum=0.8, inplace=True)
    return torch.from_numpy(np.asarray(embedding).copy())


def place(new: Tensor, codes: Tensor, points: Tensor, perplexity: float = 30.0, seed: int = 0) -> Tensor:
    """Where new codes belong in a map of old codes, whose points stay.

    Each starts at the median of its nearest old codes and moves by t-SNE's forces, as openTSNE does it.

    Args:
        new: (m, d), finite.
        codes: (n, d), the old codes, finite and not all the same.
        points: (n, 2), their map, from `tsne`; not all the same.
        perplexity: As in `tsne`, the one that the map was made with.
        seed: As in `tsne`.

    Returns:
        (m, 2) float64.

    Raises:
        ValueError: As `tsne`; points or new codes that do not belong to the old codes.

    Source: Poličar 2023. Deviation: none.
    """
    from openTSNE import TSNEEmbedding

    old, new, points = different(codes), finite(new, "new codes").cpu(), different(points, "points").cpu()
    require(points.shape[1] == 2, f"points have shape (n, 2), got {tuple(points.shape)}")
    require(len(points) == len(old), f"the map has {len(points)} points for {len(old)} codes")
    require(new.shape[1] == old.shape[1], f"codes have {old.shape[1]} numbers and new codes {new.shape[1]}")
    affinities = _affinities(old.cpu().double().numpy(), perplexity, seed)
    fixed = TSNEEmbedding(points.numpy().copy(), affinities, negative_gradient_method="bh", random_state=seed)
    placed = np.asarray(fixed.transform(new.double().numpy(), perplexity=5))
    middle = (points.amin(0) + points.amax(0)) / 2  # which openTSNE has moved to the origin
    return torch.from_numpy(placed.copy()) + middle


def grid(points: Tensor, rows: int, columns: int) -> Tensor:
    """Give each point its own cell of an image grid.

    The points are stretched to fill the grid; the sum of their squared distances to their cells, in the unit square, is
    the least possible: an assignment problem, solved exactly by SciPy in seconds up to some thousands of points.

    Args:
        points: (n, 2), finite, at most rows * columns of them. x runs along the columns, y up the rows.
        rows: Of the grid.
        columns: Of the grid.

    Returns:
        (rows, columns), the number of the point in each cell, -1 in empty ones. Points that coincide share their cells
        out in any order.

    Raises:
        ValueError: More points than cells (none is left out), points that are not finite, another shape.

    Source: Jonker and Volgenant 1987, by SciPy. Deviation: none.

    Example:
        >>> grid(torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.9, 1.0], [1.0, 0.0]]), 2, 2)
        tensor([[2, 1],
                [0, 3]])
    """
    from scipy.optimize import linear_sum_assignment

    points = finite(points, "points").cpu().double()
    require(points.shape[1] == 2, f"points have shape (n, 2), got {tuple(points.shape)}")
    require(len(points) <= rows * columns, f"{len(points)} points do not fit into {rows} x {columns} cells")
    low, high = points.amin(0), points.amax(0)
    spread = (points - low) / (high - low).clamp(min=1e-12)  # (n, 2) in [0, 1]
    down, across = torch.meshgrid(torch.linspace(1, 0, rows), torch.linspace(0, 1, columns), indexing="ij")
    cells = torch.stack([across, down], 2).reshape(-1, 2).double()
    which, where = linear_sum_assignment(torch.cdist(spread, cells).square().numpy())
    taken = torch.full((rows * columns,), -1)
    taken[torch.from_numpy(where)] = torch.from_numpy(which)
    return taken.reshape(rows, columns)
