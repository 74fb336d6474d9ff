"""Maps of codes: PCA, t-SNE, the image grid."""

from typing import Any

import numpy as np
import openTSNE
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from torch import Tensor

from course_lib.embedding.table import BLOCK, finite
from course_lib.errors import require


def pca(codes: Tensor, components: int = 2) -> Tensor:
    """Coordinates along the directions of largest variance: (n, components), by scikit-learn's exact solver.

    The sign of each direction is a convention. Raises ValueError for more components than min(n, d).
    """
    codes = finite(codes)
    require(1 <= components <= min(codes.shape), f"components must be from 1 to {min(codes.shape)}, got {components}")
    require(bool((codes != codes[0]).any()), "all codes are the same, so no direction has variance")
    return torch.from_numpy(PCA(components, svd_solver="full").fit_transform(codes.cpu().numpy()))


def _affinities(codes: Tensor, perplexity: float, seed: int) -> Any:
    codes, n = finite(codes), len(codes)
    # beyond n / 3 the 3 * perplexity neighbours that t-SNE looks at are more than there are
    require(1 < perplexity < n / 3, f"perplexity must be above 1 and below n / 3 = {n / 3:.1f}, got {perplexity}")
    return openTSNE.affinity.PerplexityBasedNN(
        codes.cpu().double().numpy(), perplexity, method="exact" if n <= BLOCK else "approx", random_state=seed
    )


def tsne(codes: Tensor, perplexity: float = 30.0, seed: int = 0) -> Tensor:
    """A map (n, 2) in which neighbours stay neighbours (van der Maaten and Hinton 2008), by openTSNE.

    perplexity: about how many neighbours each code should have, below n / 3. The start is the codes' PCA, so that the
    large arrangement means something (Kobak and Berens 2019); seed settles the rest, and one seed gives one map.
    Raises ValueError for codes that are not finite, or a perplexity out of range.
    """
    affinities = _affinities(codes, perplexity, seed)
    start = openTSNE.initialization.pca(torch.as_tensor(codes).cpu().double().numpy(), random_state=seed)
    embedding = openTSNE.TSNEEmbedding(start, affinities, negative_gradient_method="bh", random_state=seed)
    embedding.optimize(250, exaggeration=12, momentum=0.5, inplace=True)
    embedding.optimize(500, momentum=0.8, inplace=True)
    return torch.from_numpy(np.asarray(embedding).copy())


def place(new: Tensor, codes: Tensor, points: Tensor, perplexity: float = 30.0, seed: int = 0) -> Tensor:
    """Where new codes (m, d) belong in the map `points` (n, 2) of old codes (n, d): (m, 2). The old points stay.

    Each starts at the median of its nearest old codes and moves by t-SNE's forces (Poličar 2023), as openTSNE does it.
    """
    require(len(points) == len(codes), f"the map has {len(points)} points for {len(codes)} codes")
    new = finite(new, "new codes")
    affinities = _affinities(codes, perplexity, seed)
    old = openTSNE.TSNEEmbedding(points.numpy().copy(), affinities, negative_gradient_method="bh", random_state=seed)
    placed = np.asarray(old.transform(new.cpu().double().numpy(), perplexity=5))
    middle = (points.amin(0) + points.amax(0)) / 2  # which openTSNE has moved to the origin
    return torch.from_numpy(placed.copy()) + middle


def grid(points: Tensor, rows: int, columns: int) -> Tensor:
    """Give each point (n, 2) its own cell of a picture grid: (rows, columns) of point numbers, -1 in empty cells.

    x runs along the columns, y up the rows. The points are stretched to fill the grid; the sum of their squared ways to
    their cells, in the unit square, is the least possible: an assignment problem, solved exactly by SciPy in seconds up
    to some thousands.
    Raises ValueError for more points than cells: none is left out.
    """
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
