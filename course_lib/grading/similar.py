"""Submissions that resemble each other: shared runs of code tokens, rare ones counted more, in groups.

What was handed out is subtracted, and so is what nobody wrote. It only points: short right answers resemble each other
anyway, so a person reads the groups.
"""

import io
import keyword
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from course_lib.grading.notebook import Notebook
from course_lib.grading.question import Assignment

RUN = 6  # tokens of a run
RENAMED, WRITTEN, WORDS = 0.95, 0.8, 0.6  # of the shares, from which on a pair is listed
FEW = 12  # runs of its own that a text must have to be compared
CLASS = 8  # students, from which on what most of them have does not count
# No length of an answer slows the comparison: so many runs of a student count, so many cells, characters of a cell.
LONG, CELLS, SIZE = 20_000, 40, 30_000
MOST = 400  # pairs that are listed
SKIPPED = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}


@dataclass(frozen=True)
class Pair:
    """Two submissions, and how much they share.

    Attributes:
        first: A student.
        second: Another student.
        shared: The share of the smaller one's code that is in the other one, too, where all names count as equal and
            comments are left out, in [0, 1].
        as_written: The same with names and comments as they were written.
        words: The same of the written answers.
    """

    first: str
    second: str
    shared: float
    as_written: float
    words: float

    @property
    def rank(self) -> float:
        """The larger, the more there is to look at: names and words that agree say more than code does."""
        return max(self.as_written + 0.5 * self.shared, self.words + 0.25)


@dataclass(frozen=True)
class Cluster:
    """Students whose work is connected by pairs that are alike.

    Attributes:
        students: Their names, sorted.
        pairs: The pairs, the most alike first.
    """

    students: tuple[str, ...]
    pairs: tuple[Pair, ...]


def tokens(text: str, *, rename: bool = False) -> list[str]:
    """The tokens of Python text.

    Args:
        text: What is no Python is split into words.
        rename: Replace every name by the same one, and leave comments and docstrings' words out.

    Returns:
        The tokens, in order.

    Example:
        >>> tokens("total = a + 1  # sum", rename=True)
        ['name', '=', 'name', '+', '1']
    """
    found = _tokens(text)
    if found is None:
        return text.split()
    if not rename:
        return [token.string for token in found]
    return [
        "name"
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string)
        else "text"
        if token.type == tokenize.STRING
        else token.string
        for token in found
        if token.type != tokenize.COMMENT
    ]


@lru_cache(maxsize=8)
def _tokens(text: str) -> tuple[tokenize.TokenInfo, ...] | None:
    """The tokens of Python text; None where it is none. They are needed twice, one after the other."""
    try:
        found = tokenize.generate_tokens(io.StringIO(text).readline)
        return tuple(token for token in found if token.type not in SKIPPED)
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError):
        return None


def similar(assignment: Assignment, books: Mapping[str, Notebook], stub: Notebook | None = None) -> list[Cluster]:
    """The groups of students whose work is alike.

    The share of a pair is the weight of the runs that both have, over the weight of all runs of the one that has less:
    whatever is added to a copy does not make it less of a copy. A run weighs ``1 + log(n / k)`` where k of n students
    have it; in a class of eight and more it counts nothing where more than half of them have it.

    Args:
        assignment: Whose questions count; code and words below other marks are not compared.
        books: {student: what was read of the notebook}.
        stub: What was handed out, which is subtracted.

    Returns:
        The groups, the most alike first.
    """
    marks = {question.name for question in assignment.asked}
    cells = {name: [text[:SIZE] for text, mark in book.code if mark in marks][:CELLS] for name, book in books.items()}
    words = {
        name: [_words(text) for mark, text in book.written.items() if mark in marks] for name, book in books.items()
    }
    base = [text for text, mark in stub.code if mark in marks] if stub else []
    base_words = [_words(text) for text in stub.written.values()] if stub else []
    names = list(books)
    both = {name: [(tokens(text, rename=True), tokens(text)) for text in cells[name]] for name in names}
    renamed = {name: [one for one, _ in both[name]] for name in names}
    plain = {name: [one for _, one in both[name]] for name in names}
    shared = _shares([renamed[name] for name in names], [tokens(text, rename=True) for text in base])
    written = _shares([plain[name] for name in names], [tokens(text) for text in base])
    said = _shares([words[name] for name in names], base_words)
    alike = (shared >= RENAMED) | (written >= WRITTEN) | (said >= WORDS)
    pairs = [
        Pair(names[i], names[j], float(shared[i, j]), float(written[i, j]), float(said[i, j]))
        for i, j in zip(*np.triu(alike, 1).nonzero(), strict=True)
    ]
    pairs = sorted(pairs, key=lambda pair: (-pair.rank, pair.first, pair.second))
    return _clusters(pairs[:MOST])


def _clusters(pairs: list[Pair]) -> list[Cluster]:
    """Pairs that have students in common, together; the group with the most suspicious pair first."""
    from scipy.sparse.csgraph import connected_components  # most runs find the groups as the last one left them

    names = sorted({name for pair in pairs for name in (pair.first, pair.second)})
    at = {name: i for i, name in enumerate(names)}
    joined = np.zeros((len(names), len(names)), dtype=bool)
    for pair in pairs:
        joined[at[pair.first], at[pair.second]] = True
    _, labels = connected_components(joined, directed=False) if names else (0, np.zeros(0))
    groups: dict[int, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(int(labels[at[pair.first]]), []).append(pair)
    return [
        Cluster(tuple(sorted({name for p in found for name in (p.first, p.second)})), tuple(found))
        for found in groups.values()
    ]


def _shares(documents: list[list[list[str]]], base: list[list[str]]) -> np.ndarray:
    """(n, n): the weight of common runs over that of the smaller document's; 0 where a document has too few."""
    from scipy.sparse import csr_matrix

    n = len(documents)
    handed_out = _runs(base)
    own = [np.setdiff1d(_runs(document), handed_out) for document in documents]
    found, which = np.unique(np.concatenate([*own, np.zeros(0, np.int64)]), return_inverse=True)
    if not len(found):
        return np.zeros((n, n))
    ends = np.cumsum([0, *map(len, own)])
    has = csr_matrix((np.ones(len(which)), which, ends), (n, len(found)))
    often = np.bincount(which, minlength=len(found))
    weight = 1 + np.log(n / often)
    if n >= CLASS:
        weight[often > n / 2] = 0  # what most of them have is no sign of anything
    common = (has.multiply(weight) @ has.T).toarray()
    size = common.diagonal()
    enough = np.array([len(runs) >= FEW for runs in own]) & (size > 0)
    smaller = np.minimum(size[:, None], size[None]).clip(1e-9)
    return np.where(enough[:, None] & enough[None], (common / smaller).clip(max=1), 0.0)


def _words(text: str) -> list[str]:
    """The words of a written answer, in lower case."""
    return re.findall(r"\w+", text.lower())


def _runs(document: list[list[str]]) -> np.ndarray:
    """The runs of RUN tokens in each cell, each as a number of 64 bits, sorted, each once."""
    found: list[int] = []
    for cell in document:
        some = cell[: max(0, LONG - len(found))]
        found += [hash(tuple(some[i : i + RUN])) for i in range(len(some) - RUN + 1)]
    return np.unique(np.array(found, np.int64))
