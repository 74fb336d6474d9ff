"""Exact nearest neighbours, in blocks."""

import torch
from torch import Tensor

from course_lib.embedding.table import BLOCK, finite, table
from course_lib.errors import require, unknown

METRICS = ("cosine", "l2", "euclidean")


def nearest(codes: Tensor, query: Tensor, k: int, metric: str = "cosine") -> tuple[Tensor, Tensor]:
    """The k codes nearest to each query, nearest first.

    Exact; codes are compared in blocks, so the (q, n) table of distances is never whole in memory. A query that is
    itself among the codes is its own first neighbour.

    Args:
        codes: (n, d), finite; they may be mapped from a file.
        query: (q, d), or (d,) for one query.
        k: Number of neighbours, from 1 to n.
        metric: "cosine", whose values are similarities ``<a, b> / (|a| |b|)``, or "l2" ("euclidean"), whose values are
            distances ``|a - b|``.

    Returns:
        (values, indices), each (q, k), or (k,) for one query: similarities in [-1, 1] that fall, or distances that
        rise, and the rows of the codes.

    Raises:
        ValueError: k out of range, another metric, another shape, codes or queries that are not finite, and for the
            cosine a code or query that is zero.

    Example:
        >>> nearest(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([0.0, 2.0]), 2)
        (tensor([1.0000, 0.8000]), tensor([1, 0]))
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    codes, query = table(codes), torch.as_tensor(query)
    if query.dim() == 1:
        values, indices = nearest(codes, query[None], k, metric)
        return values[0], indices[0]
    query = finite(query, "queries").to(codes)
    n, d = codes.shape
    require(query.shape[1] == d, f"codes have {d} numbers and queries {query.shape[1]}")
    require(1 <= k <= n, f"k must be from 1 to the number of codes, {n}, got {k}")

    if metric == "cosine":
        best, indices, _ = _search(codes, query, k, cosine=True)
        return (best / _nonzero(query.norm(dim=1), "query")[:, None]).clamp(-1, 1), indices
    # Distances are measured from the middle of the codes, and where the differences of squares would lose their
    # digits all the same (codes far apart, neighbours close), once more with twice the digits
    centre = codes[:: max(1, n // 1000)].mean(0)
    _, indices, longest = _search(codes, query, k, centre=centre)
    distances = (codes[indices] - query[:, None]).norm(dim=2)  # (q, k), without the squares' rounding
    lost = torch.finfo(codes.dtype).eps * (longest + (query - centre).norm(dim=1)) ** 2
    if codes.dtype != torch.double and bool((lost > 1e-4 * distances[:, -1] ** 2).any()):
        _, indices, _ = _search(codes, query.double(), k, centre=centre.double())
        distances = (codes[indices] - query[:, None]).norm(dim=2)
    distances, order = distances.sort(dim=1, stable=True)
    return distances, indices.gather(1, order)


def _search(
    codes: Tensor, query: Tensor, k: int, *, cosine: bool = False, centre: Tensor | float = 0.0
) -> tuple[Tensor, Tensor, float]:
    """The k best scores of each query, whose codes they are, and the greatest distance of a code from the centre.

    A score is <a, b> / |b|, or -|a - b|^2 but for |a|^2. The arithmetic is in the dtype of the query.
    """
    origin = query - centre
    best, indices = origin.new_empty(len(query), 0), torch.empty(len(query), 0, dtype=torch.long, device=codes.device)
    longest = 0.0
    for start in range(0, len(codes), BLOCK):
        block = codes[start : start + BLOCK].to(query.dtype)
        block = block if cosine else block - centre
        lengths = torch.linalg.vector_norm(block, dim=1)
        if not lengths.isfinite().all():
            finite(codes)  # which raises, with every row that is at fault
        longest = max(longest, float(lengths.max()))
        scores = origin @ block.mT
        scores = scores / _nonzero(lengths, "code") if cosine else 2 * scores - lengths.square()
        top, where = scores.topk(min(k, len(block)), dim=1)
        best, indices = torch.cat([best, top], 1), torch.cat([indices, where + start], 1)
        best, kept = best.topk(min(k, best.shape[1]), dim=1)
        indices = indices.gather(1, kept)
    return best, indices, longest


def _nonzero(lengths: Tensor, what: str) -> Tensor:
    require(bool((lengths > 0).all()), f"a {what} is zero and has no direction for the cosine; use metric='l2'")
    return lengths
