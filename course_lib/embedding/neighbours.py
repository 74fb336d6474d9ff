"""Vectors: codes of pictures, skip-gram words; their neighbours, PCA, t-SNE, the picture grid."""

from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openTSNE
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from torch import Tensor, nn
from tqdm.auto import trange

from course_lib.data import Pictures, batches, count
from course_lib.errors import require, unknown
from course_lib.taps import Taps

METRICS = ("cosine", "l2", "euclidean")
BLOCK = 4096  # codes read, or compared, at a time


def _table(codes: Tensor, what: str = "codes") -> Tensor:
    """Codes as a floating (n, d) tensor; ValueError for another shape."""
    codes = torch.as_tensor(codes)
    require(codes.dim() == 2 and codes.numel() > 0, f"{what} have shape (n, d), got {tuple(codes.shape)}")
    return codes if codes.is_floating_point() else codes.float()


def _finite(codes: Tensor, what: str = "codes") -> Tensor:
    """Codes as a finite (n, d) tensor; ValueError that names the rows otherwise."""
    codes = _table(codes, what)
    bad = (~torch.isfinite(codes.norm(dim=1))).nonzero()[:, 0].tolist()  # a norm sees every number, and is cheap
    if bad:
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(f"{len(bad)} of {len(codes)} {what} are not finite, in rows {shown}")
    return codes


# ---------------------------------------------------------------- codes of pictures


@torch.no_grad()
def codes(
    net: nn.Module,
    layer: str,
    images: Pictures,
    *,
    size: int | None = None,
    batch: int = 16,
    out: str | Path | None = None,
    skip_broken: bool = False,
    progress: bool = True,
) -> Tensor:
    """What a layer answers to each picture, flattened: (n, d) float32 on the CPU.

    images: a tensor (n, 3, h, w), a folder, a list of files, or a Dataset; walked in batches, in constant memory.
    size: to which files are resized, by default the network's image_size.
    out: a .npy file to fill instead of memory; the tensor that comes back is mapped from it. Rows that are not done
        yet hold NaN, so the same call after an interruption goes on where it stopped. The first batch is always
        computed, and must agree with what the file holds.
    skip_broken: leave files that cannot be read out, with a warning; their rows are NaN, so that row i stays file i.

    Raises ValueError for an unknown layer, a broken file, or an `out` that holds other codes.
    """
    taps, device = Taps(net, layer), next(net.parameters()).device
    options: dict[str, Any] = {
        "size": size or getattr(net, "image_size", 224),
        "batch": batch,
        "skip_broken": skip_broken,
    }

    def answers(pictures: Tensor) -> Tensor:
        return taps(pictures.to(device))[layer].flatten(1).float().cpu()

    n = count(images)
    rows, first = next(((rows, answers(x)) for rows, x in batches(images, **options, progress=False)), ([], None))
    if first is None:
        raise ValueError("no picture could be read")
    table = torch.full((n, first.shape[1]), torch.nan) if out is None else _file(Path(out), n, first.shape[1])
    stored = table[rows]
    agree = stored.isnan() | torch.isclose(stored, first, rtol=1e-3, atol=1e-4 * float(first.abs().max()))
    require(bool(agree.all()), f"{out} holds other codes than those of layer {layer!r}; remove it or name another file")
    table[rows] = first

    for rows, x in batches(images, **options, start=_unfinished(table), progress=progress):
        table[rows] = answers(x)
    return table


def _unfinished(table: Tensor) -> int:
    """The first row that holds a NaN, or the number of rows; by blocks, as the table may be larger than memory."""
    for start in range(0, len(table), BLOCK):
        unfinished = table[start : start + BLOCK].isnan().any(1).nonzero()
        if len(unfinished):
            return start + int(unfinished[0])
    return len(table)


def _file(path: Path, n: int, d: int) -> Tensor:
    """The (n, d) table in a .npy file, mapped; a new one is full of NaN before it gets its name."""
    if not path.exists():
        new = path.with_name(path.name + ".new")
        table = np.lib.format.open_memmap(new, mode="w+", dtype=np.float32, shape=(n, d))
        for start in range(0, n, BLOCK):
            table[start : start + BLOCK] = np.nan
        table.flush()
        new.rename(path)
    try:
        table = np.load(path, mmap_mode="r+")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy file of codes: {error}") from error
    if table.shape != (n, d) or table.dtype != np.float32:
        raise ValueError(f"{path} holds {table.dtype} {table.shape}, but these codes are float32 {(n, d)}")
    return torch.from_numpy(table)


# ---------------------------------------------------------------- neighbours


def nearest(codes: Tensor, query: Tensor, k: int, metric: str = "cosine") -> tuple[Tensor, Tensor]:
    """The k codes nearest to each query: (values, indices), each (q, k), nearest first; (k,) for one query (d,).

    codes: (n, d). query: (q, d). metric: "cosine", whose values are similarities <a, b> / |a| |b| in [-1, 1], or "l2"
    ("euclidean"), whose values are distances |a - b|. A query that is itself among the codes is its own first
    neighbour. Exact; codes are compared in blocks, so the (q, n) table of distances is never whole in memory.

    Raises ValueError for k outside 1 ... n, codes that are not finite, a zero code (cosine), another metric.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    codes, query = _table(codes), torch.as_tensor(query)
    if query.dim() == 1:
        values, indices = nearest(codes, query[None], k, metric)
        return values[0], indices[0]
    query = _finite(query, "queries").to(codes)
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
            _finite(codes)  # which raises, with every row that is at fault
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


# ---------------------------------------------------------------- maps


def pca(codes: Tensor, components: int = 2) -> Tensor:
    """Coordinates along the directions of largest variance: (n, components), by scikit-learn's exact solver.

    The sign of each direction is a convention. Raises ValueError for more components than min(n, d).
    """
    codes = _finite(codes)
    require(1 <= components <= min(codes.shape), f"components must be from 1 to {min(codes.shape)}, got {components}")
    require(bool((codes != codes[0]).any()), "all codes are the same, so no direction has variance")
    return torch.from_numpy(PCA(components, svd_solver="full").fit_transform(codes.cpu().numpy()))


def _affinities(codes: Tensor, perplexity: float, seed: int) -> Any:
    codes, n = _finite(codes), len(codes)
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
    new = _finite(new, "new codes")
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
    points = _finite(points, "points").cpu().double()
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


# ---------------------------------------------------------------- word vectors


class WordVectors(NamedTuple):
    """words: in order of frequency. vectors: (words, dim)."""

    words: tuple[Any, ...]
    vectors: Tensor


def skip_gram(
    sequences: Sequence[Sequence[Hashable]],
    dim: int,
    seed: int = 0,
    *,
    window: int = 5,
    negatives: int = 5,
    epochs: int = 10,
    progress: bool = True,
) -> WordVectors:
    """Word vectors that predict a word's neighbours: skip-gram with negative sampling (Mikolov 2013).

    For each word w with a neighbour c at most `window` places away, and `negatives` words r drawn with probability
    proportional to frequency^(3/4), minimise
        -log sigma(<v_w, u_c>) - sum over r of log sigma(-<v_w, u_r>).
    sequences: sentences of words, or sessions of queries; anything hashable is a word. Returns the v.

    Deviations: Adam with batches instead of single steps of falling rate; the window is always full; frequent words
    are not thinned out. Raises ValueError where no sequence has two words.
    """
    for name, value in {"dim": dim, "window": window, "negatives": negatives}.items():
        require(value >= 1, f"{name} must be at least 1, got {value}")
    frequency = Counter(word for sequence in sequences for word in sequence)
    words = tuple(sorted(frequency, key=lambda word: (-frequency[word], str(word))))
    number = {word: i for i, word in enumerate(words)}
    pairs = torch.tensor(  # (p, 2): word, neighbour
        [
            (number[word], number[sequence[j]])
            for sequence in sequences
            for i, word in enumerate(sequence)
            for j in range(max(0, i - window), min(len(sequence), i + window + 1))
            if j != i
        ]
    )
    require(len(pairs) > 0, "no sequence has two words, so there is nothing to predict")
    noise = torch.tensor([frequency[word] for word in words], dtype=torch.double) ** 0.75

    generator = torch.Generator().manual_seed(seed)
    v = ((torch.rand(len(words), dim, generator=generator) - 0.5) / dim).requires_grad_()
    u = torch.zeros(len(words), dim, requires_grad=True)
    size = max(1, min(1024, len(pairs) // 20))
    optimizer = torch.optim.Adam([v, u], lr=0.01)
    for _ in trange(epochs, unit="epoch", disable=not progress, leave=False):
        for batch in pairs[torch.randperm(len(pairs), generator=generator)].split(size):
            random = torch.multinomial(noise, len(batch) * negatives, replacement=True, generator=generator)
            word = v[batch[:, 0]]  # (b, dim)
            near = (word * u[batch[:, 1]]).sum(1)
            far = (u[random].view(len(batch), negatives, dim) @ word[:, :, None])[..., 0]  # (b, negatives)
            loss = -(F.logsigmoid(near).sum() + F.logsigmoid(-far).sum()) / len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return WordVectors(words, v.detach())
