"""Vectors of words."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import trange

from course_lib.errors import require


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
