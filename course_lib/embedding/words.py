"""Vectors of words."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import require
from course_lib.progress import bar


class WordVectors(NamedTuple):
    """Words and their vectors.

    Attributes:
        words: In the order of falling frequency.
        vectors: (words, dim).
    """

    words: tuple[Any, ...]
    vectors: Tensor


def skip_gram(
    sequences: Iterable[Sequence[Hashable]],
    dim: int,
    seed: int = 0,
    *,
    window: int = 5,
    negatives: int = 5,
    epochs: int = 10,
    progress: bool = True,
) -> WordVectors:
    """Word vectors that predict a word's neighbours: skip-gram with negative sampling.

    For each word w with a neighbour c at most `window` positions away, and `negatives` words r drawn with probability
    proportional to frequency^(3/4), minimise ::

        -log sigma(<v_w, u_c>) - sum over r of log sigma(-<v_w, u_r>).

    Args:
        sequences: Sentences, each a list of words, or sessions of queries; anything hashable is a word.
        dim: Length of the vectors.
        seed: Of the initial vectors, of the order of the pairs, and of the words r.
        window: Largest distance of a neighbour, at least 1.
        negatives: Number of random words for each pair, at least 1.
        epochs: Number of walks through all pairs, at least 0.
        progress: Whether a run that lasts shows a bar.

    Returns:
        The words, and their vectors v.

    Raises:
        TypeError: A sequence that is a string; its words would be letters.
        ValueError: No sequence with two words, or a number that is too small.

    Source: Mikolov 2013. Deviations: Adam with batches instead of single steps of falling rate; the window is always
    full; frequent words are not left out.

    Example:
        >>> found = skip_gram([["a", "cup", "of", "tea"], ["a", "cup", "of", "coffee"]], dim=4, epochs=1)
        >>> found.words, found.vectors.shape
        (('a', 'cup', 'of', 'coffee', 'tea'), torch.Size([5, 4]))
    """
    for name, value, least in (
        ("dim", dim, 1),
        ("window", window, 1),
        ("negatives", negatives, 1),
        ("epochs", epochs, 0),
    ):
        require(value >= least, f"{name} must be at least {least}, got {value}")
    texts = [_words(sequence) for sequence in ([sequences] if isinstance(sequences, str) else sequences)]
    frequency = Counter(word for text in texts for word in text)
    words = tuple(sorted(frequency, key=lambda word: (-frequency[word], str(word))))
    number = {word: i for i, word in enumerate(words)}
    pairs = torch.tensor(  # (p, 2): word, neighbour
        [
            (number[word], number[text[j]])
            for text in texts
            for i, word in enumerate(text)
            for j in range(max(0, i - window), min(len(text), i + window + 1))
            if j != i
        ]
    )
    require(len(pairs) > 0, "no sequence has two words, so there is nothing to predict")
    counts = torch.tensor([frequency[word] for word in words], dtype=torch.double)
    with torch.inference_mode(False), torch.enable_grad():
        return WordVectors(
            words, _trained(pairs, counts, dim, seed, negatives, bar(range(epochs), shown=progress, unit="epoch"))
        )


def _trained(pairs: Tensor, counts: Tensor, dim: int, seed: int, negatives: int, epochs: Iterable[int]) -> Tensor:
    """The vectors v of words that have these neighbours, and that occur so often."""
    noise = counts**0.75
    generator = torch.Generator().manual_seed(seed)
    v = ((torch.rand(len(counts), dim, generator=generator) - 0.5) / dim).requires_grad_()
    u = torch.zeros(len(counts), dim, requires_grad=True)
    size = max(1, min(1024, len(pairs) // 20))
    optimizer = torch.optim.Adam([v, u], lr=0.01)
    for _ in epochs:
        for batch in torch.split(pairs[torch.randperm(len(pairs), generator=generator)], size):
            random = torch.multinomial(noise, len(batch) * negatives, replacement=True, generator=generator)
            word = v[batch[:, 0]]  # (b, dim)
            near = (word * u[batch[:, 1]]).sum(1)
            far = (u[random].view(len(batch), negatives, dim) @ word[:, :, None])[..., 0]  # (b, negatives)
            loss = -(F.logsigmoid(near).sum() + F.logsigmoid(-far).sum()) / len(batch)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return v.detach()


def _words(sequence: Sequence[Hashable]) -> list[Hashable]:
    """The words of one sequence; TypeError for a string."""
    if isinstance(sequence, str | bytes):
        raise TypeError(f"a sequence is a list of words, got the string {sequence[:40]!r}; split it into words")
    return sequence.tolist() if isinstance(sequence, Tensor | np.ndarray) else list(sequence)
