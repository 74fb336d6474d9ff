"""Submissions that resemble each other: cosine of TF-IDF over runs of code tokens (scikit-learn).

It only points: short right answers resemble each other anyway, so a person reads the pairs.
"""

import io
import keyword
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass

from sklearn.feature_extraction.text import TfidfVectorizer

LEAST = 0.8  # of the similarity that is listed
MOST = 100  # pairs that are listed
SKIPPED = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}


@dataclass(frozen=True)
class Pair:
    """Two submissions, and how alike their code is.

    Attributes:
        first: A student.
        second: Another student.
        written: Similarity of the code as it was written, in [0, 1].
        renamed: Similarity where all names count as equal and comments are left out, in [0, 1].
    """

    first: str
    second: str
    written: float
    renamed: float


def tokens(text: str, *, rename: bool = False) -> list[str]:
    """The tokens of Python text.

    Args:
        text: What is no Python is split into words.
        rename: Replace every name by the same one, and leave comments out.

    Returns:
        The tokens, in order.

    Example:
        >>> tokens("total = a + 1  # sum", rename=True)
        ['name', '=', 'name', '+', '1']
    """
    try:
        found = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in SKIPPED]
    except (tokenize.TokenError, SyntaxError):
        return text.split()
    if not rename:
        return [token.string for token in found]
    return [
        "name" if token.type == tokenize.NAME and not keyword.iskeyword(token.string) else token.string
        for token in found
        if token.type != tokenize.COMMENT
    ]


def similar(codes: Mapping[str, str], least: float = LEAST) -> list[Pair]:
    """The pairs of students whose code is alike: cosine of TF-IDF over runs of four tokens.

    Args:
        codes: {student: text of all answer cells}.
        least: Smallest similarity that is listed, in [0, 1].

    Returns:
        At most 100 pairs, the most alike first; a similarity below `least` stands as 0.

    Source: scikit-learn's TfidfVectorizer, with sublinear term frequencies (1 + log tf). Deviation: none.
    """
    names = [name for name, text in codes.items() if text.strip()]
    if len(names) < 2:
        return []
    both = []
    for rename in (False, True):
        documents = [tokens(codes[name], rename=rename) for name in names]
        weigh = TfidfVectorizer(analyzer=_runs, sublinear_tf=True)
        try:
            vectors = weigh.fit_transform(documents)
        except ValueError:  # no document is as long as a run
            return []
        both.append((vectors @ vectors.T).tocoo())
    values: dict[tuple[int, int], list[float]] = {}
    for side, matrix in enumerate(both):
        for i, j, value in zip(matrix.row, matrix.col, matrix.data, strict=True):
            if i < j and value >= least:
                values.setdefault((int(i), int(j)), [0.0, 0.0])[side] = float(value)
    pairs = [Pair(names[i], names[j], *both_values) for (i, j), both_values in values.items()]
    return sorted(pairs, key=lambda pair: (-pair.written, -pair.renamed, pair.first, pair.second))[:MOST]


def _runs(document: list[str]) -> list[str]:
    """Runs of four tokens."""
    return [" ".join(document[i : i + 4]) for i in range(len(document) - 3)]
