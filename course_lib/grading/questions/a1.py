"""Assignment 1: embeddings, neighbours, t-SNE."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from course_lib import measure
from course_lib.grading import compare
from course_lib.grading.plain import Plain
from course_lib.grading.question import Assignment, Mistake, Part, Question, Written

__all__ = ["ASSIGNMENT"]


def table(generator: Generator, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


# ---------------------------------------------------------------- pairs of neighbours in a sequence


def pairs(sessions: list[list[int]], window: int) -> Tensor:
    return torch.tensor(
        [
            (session[i], session[j])
            for session in sessions
            for i in range(len(session))
            for j in range(len(session))
            if 0 < abs(i - j) <= window
        ]
    )


def sessions_part(name: str, points: float, lengths: tuple[int, ...], window: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Sessions of words that all differ, but for one that comes twice in the first session."""
        words = torch.randperm(sum(lengths), generator=generator)
        sessions = [part.tolist() for part in torch.split(words, list(lengths))]
        sessions[0][-2] = sessions[0][0]
        return {"sessions": sessions, "window": window}

    return Part(name, points, inputs)


def only_after(sessions: list[list[int]], window: int) -> Tensor:
    found = []
    for session in sessions:
        for i, word in enumerate(session):
            found += [(word, other) for other in session[i + 1 : i + 1 + window]]
    return torch.tensor(found)


def with_itself(sessions: list[list[int]], window: int) -> Tensor:
    found = []
    for session in sessions:
        for i, word in enumerate(session):
            found += [(word, other) for other in session[max(0, i - window) : i + window + 1]]
    return torch.tensor(found)


def one_too_few(sessions: list[list[int]], window: int) -> Tensor:
    found = []
    for session in sessions:
        for i, word in enumerate(session):
            found += [(word, session[j]) for j in range(max(0, i - window), min(len(session), i + window)) if j != i]
    return torch.tensor(found)


def slice_from_the_end(sessions: list[list[int]], window: int) -> Tensor:
    found = []
    for session in sessions:
        for i, word in enumerate(session):
            found += [(word, other) for other in session[i - window : i] + session[i + 1 : i + 1 + window]]
    return torch.tensor(found)


def across_sessions(sessions: list[list[int]], window: int) -> Tensor:
    text = [word for session in sessions for word in session]
    n = len(text)
    return torch.tensor([(text[i], text[j]) for i in range(n) for j in range(n) if 0 < abs(i - j) <= window])


def same_word_left_out(sessions: list[list[int]], window: int) -> Tensor:
    found = []
    for session in sessions:
        for i, word in enumerate(session):
            near = session[max(0, i - window) : i + window + 1]
            found += [(word, other) for other in near if other != word]
    return torch.tensor(found)


def one_too_few_on_both_sides(sessions: list[list[int]], window: int) -> Tensor:
    found = []
    for session in sessions:
        for i, word in enumerate(session):
            near = range(max(0, i - window + 1), min(len(session), i + window))
            found += [(word, session[j]) for j in near if j != i]
    return torch.tensor(found)


def neighbour_first(sessions: list[list[int]], window: int) -> Tensor:
    found = []
    for session in sessions:
        for i, word in enumerate(session):
            near = session[max(0, i - window) : i] + session[i + 1 : i + window + 1]
            found += [(other, word) for other in near]
    return torch.tensor(found)


PAIRS = Question(
    name="a1.pairs",
    function="pairs",
    reference=pairs,
    parts=(
        sessions_part("one session, a window of 1", 4, (9,), 1),
        sessions_part("a window as long as the session", 3, (5,), 4),
        sessions_part("several sessions, a window of 2", 3, (4, 2, 6), 2),
    ),
    mistakes=(
        Mistake("only the words that come after count", only_after),
        Mistake("each word is its own neighbour, too", with_itself),
        Mistake("the window ends one word too early on the right", one_too_few),
        Mistake("at the start of a session a negative index counts from the end", slice_from_the_end, 4),
        Mistake("neighbours are sought in the next session, too", across_sessions, 7),
        Mistake(
            "a word that occurs again nearby is left out; it is itself only at its own position", same_word_left_out, 4
        ),
        Mistake("the window is one word too short on both sides", one_too_few_on_both_sides),
        Mistake("each pair is (neighbour, word), and the word should come first", neighbour_first),
    ),
    order="the order is that of reading: word after word, and for each its neighbours from left to right",
)

# ---------------------------------------------------------------- one step of skip-gram


def skip_gram_step(
    v: Tensor, u: Tensor, word: int, neighbour: int, noise: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    v, u = v.clone().requires_grad_(), u.clone().requires_grad_()
    loss = -F.logsigmoid(v[word] @ u[neighbour]) - F.logsigmoid(-u[noise] @ v[word]).sum()
    gradients = torch.autograd.grad(loss, (v, u))
    with torch.no_grad():
        return v - rate * gradients[0], u - rate * gradients[1]


def step_part(name: str, points: float, drawn: tuple[int, ...]) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """A word, its neighbour, and random words, of a vocabulary of 9. drawn: which of those that are left."""
        order = torch.randperm(9, generator=generator)
        return {
            "v": table(generator, 9, 4),
            "u": table(generator, 9, 4),
            "word": int(order[0]),
            "neighbour": int(order[1]),
            "noise": order[2:][list(drawn)],
            "rate": 0.7,
        }

    return Part(name, points, inputs)


def uphill(v: Tensor, u: Tensor, word: int, neighbour: int, noise: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    yes, no = torch.sigmoid(v[word] @ u[neighbour]) - 1, torch.sigmoid(u[noise] @ v[word])
    new_v, new_u = v.clone(), u.clone()
    new_v[word] += rate * (yes * u[neighbour] + no @ u[noise])
    new_u[neighbour] += rate * yes * v[word]
    new_u.index_add_(0, noise, rate * no[:, None] * v[word])
    return new_v, new_u


def noise_wanted_too(
    v: Tensor, u: Tensor, word: int, neighbour: int, noise: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    yes, no = torch.sigmoid(v[word] @ u[neighbour]) - 1, torch.sigmoid(u[noise] @ v[word]) - 1
    new_v, new_u = v.clone(), u.clone()
    new_v[word] -= rate * (yes * u[neighbour] + no @ u[noise])
    new_u[neighbour] -= rate * yes * v[word]
    new_u.index_add_(0, noise, -rate * no[:, None] * v[word])
    return new_v, new_u


def mean_over_the_noise(
    v: Tensor, u: Tensor, word: int, neighbour: int, noise: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    yes, no = torch.sigmoid(v[word] @ u[neighbour]) - 1, torch.sigmoid(u[noise] @ v[word]) / len(noise)
    new_v, new_u = v.clone(), u.clone()
    new_v[word] -= rate * (yes * u[neighbour] + no @ u[noise])
    new_u[neighbour] -= rate * yes * v[word]
    new_u.index_add_(0, noise, -rate * no[:, None] * v[word])
    return new_v, new_u


def one_after_the_other(
    v: Tensor, u: Tensor, word: int, neighbour: int, noise: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    yes, no = torch.sigmoid(v[word] @ u[neighbour]) - 1, torch.sigmoid(u[noise] @ v[word])
    new_v, new_u = v.clone(), u.clone()
    new_v[word] -= rate * (yes * u[neighbour] + no @ u[noise])
    new_u[neighbour] -= rate * yes * new_v[word]
    new_u.index_add_(0, noise, -rate * no[:, None] * new_v[word])
    return new_v, new_u


def only_the_word(v: Tensor, u: Tensor, word: int, neighbour: int, noise: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    yes, no = torch.sigmoid(v[word] @ u[neighbour]) - 1, torch.sigmoid(u[noise] @ v[word])
    new_v = v.clone()
    new_v[word] -= rate * (yes * u[neighbour] + no @ u[noise])
    return new_v, u


def written_once(v: Tensor, u: Tensor, word: int, neighbour: int, noise: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    yes, no = torch.sigmoid(v[word] @ u[neighbour]) - 1, torch.sigmoid(u[noise] @ v[word])
    new_v, new_u = v.clone(), u.clone()
    new_v[word] -= rate * (yes * u[neighbour] + no @ u[noise])
    new_u[neighbour] -= rate * yes * v[word]
    new_u[noise] -= rate * no[:, None] * v[word]
    return new_v, new_u


def others_first(v: Tensor, u: Tensor, word: int, neighbour: int, noise: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    yes, no = torch.sigmoid(v[word] @ u[neighbour]) - 1, torch.sigmoid(u[noise] @ v[word])
    new_v, new_u = v.clone(), u.clone()
    new_u[neighbour] -= rate * yes * v[word]
    new_u.index_add_(0, noise, -rate * no[:, None] * v[word])
    new_v[word] -= rate * (yes * new_u[neighbour] + no @ new_u[noise])
    return new_v, new_u


def neighbour_pushed_away(
    v: Tensor, u: Tensor, word: int, neighbour: int, noise: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    yes, no = torch.sigmoid(v[word] @ u[neighbour]), torch.sigmoid(u[noise] @ v[word])
    new_v, new_u = v.clone(), u.clone()
    new_v[word] -= rate * (yes * u[neighbour] + no @ u[noise])
    new_u[neighbour] -= rate * yes * v[word]
    new_u.index_add_(0, noise, -rate * no[:, None] * v[word])
    return new_v, new_u


def drawn_by_the_neighbour_alone(
    v: Tensor, u: Tensor, word: int, neighbour: int, noise: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    yes, no = torch.sigmoid(v[word] @ u[neighbour]) - 1, torch.sigmoid(u[noise] @ v[word])
    new_v, new_u = v.clone(), u.clone()
    new_v[word] -= rate * yes * u[neighbour]
    new_u[neighbour] -= rate * yes * v[word]
    new_u.index_add_(0, noise, -rate * no[:, None] * v[word])
    return new_v, new_u


SKIP_GRAM_STEP = Question(
    name="a1.skip_gram_step",
    function="skip_gram_step",
    reference=skip_gram_step,
    parts=(
        step_part("one random word", 6, (0,)),
        step_part("several random words", 5, (0, 1, 2, 3)),
        step_part("a random word drawn twice", 4, (0, 1, 0, 2)),
    ),
    mistakes=(
        Mistake("the loss rises: the sign of the step is reversed", uphill),
        Mistake("random words are pulled closer, like the neighbour", noise_wanted_too),
        Mistake("the u's move by the word's new vector; all gradients are taken at the old ones", one_after_the_other),
        Mistake("only v moves, and u stays", only_the_word),
        Mistake("the random words' terms are averaged, and not summed", mean_over_the_noise, 6),
        Mistake("a word that was drawn twice moves only once: u[noise] -= ... writes each row once", written_once, 11),
        Mistake("v moves by the u's that have moved already; all gradients are taken at the old tables", others_first),
        Mistake(
            "the neighbour is pushed away: the derivative is sigma - 1 for it, and the 1 is missing",
            neighbour_pushed_away,
        ),
        Mistake("v moves towards the neighbour only, and not away from the random words", drawn_by_the_neighbour_alone),
    ),
)

# ---------------------------------------------------------------- neighbours by the cosine


def neighbours(codes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    similarity = F.cosine_similarity(codes[:, None], codes[None], dim=2)  # (n, n)
    found = similarity.fill_diagonal_(-2).topk(k)
    return found.values, found.indices


def codes_part(name: str, points: float, *, unit: bool, twins: bool) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Codes of all lengths, or of length one; with twins, the last code is the first one again."""
        codes = table(generator, 12, 6)
        if twins:
            codes[-1] = codes[0]
        length = torch.ones(12, 1) if unit else torch.linspace(0.2, 5.0, 12)[:, None]
        if twins:
            length[-1] = length[0]
        return {"codes": F.normalize(codes) * length, "k": 3}

    return Part(name, points, inputs)


def tied(answer: Any, expected: Any, codes: Tensor, k: int) -> bool:
    """Whether other indices have the same cosines, so that they are as near: each row k others, all different."""
    values, indices = (compare.tensor(one) for one in answer)
    if values is None or indices is None or indices.shape != expected[1].shape:
        return False
    own, found = torch.arange(len(codes))[:, None], indices.long()
    if (
        (found < 0).any()
        or not (found == indices).all()
        or (found == own).any()
        or (found.sort(1).values.diff(dim=1) == 0).any()
    ):
        return False
    cosines = F.cosine_similarity(codes[:, None], codes[found], dim=2)
    return compare.close(values.double(), expected[0], 1e-3) and compare.close(cosines, expected[0], 1e-6)


def by_the_inner_product(codes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    found = (codes @ codes.T).fill_diagonal_(-torch.inf).topk(k)
    return found.values, found.indices


def one_length_forgotten(codes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    found = (F.normalize(codes) @ codes.T).fill_diagonal_(-torch.inf).topk(k)
    return found.values, found.indices


def first_of_all_itself(codes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    unit = F.normalize(codes)
    found = (unit @ unit.T).topk(k)
    return found.values, found.indices


def first_one_dropped(codes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    unit = F.normalize(codes)
    values, indices = (unit @ unit.T).sort(dim=1, descending=True, stable=True)
    return values[:, 1 : k + 1], indices[:, 1 : k + 1]


def the_farthest(codes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    unit = F.normalize(codes)
    found = (unit @ unit.T).fill_diagonal_(torch.inf).topk(k, largest=False)
    return found.values, found.indices


def by_the_distance(codes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    found = torch.cdist(codes, codes).fill_diagonal_(torch.inf).topk(k, largest=False)
    return found.values, found.indices


def nearest_last(codes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    unit = F.normalize(codes)
    found = (unit @ unit.T).fill_diagonal_(-2).topk(k)
    return found.values.flip(1), found.indices.flip(1)


def normalised_by_column(codes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    unit = F.normalize(codes, dim=0)
    found = (unit @ unit.T).fill_diagonal_(-torch.inf).topk(k)
    return found.values, found.indices


NEIGHBOURS = Question(
    name="a1.neighbours",
    function="neighbours",
    reference=neighbours,
    parts=(
        codes_part("codes of length one", 3, unit=True, twins=False),
        codes_part("codes of all lengths", 4, unit=False, twins=False),
        codes_part("two codes that are equal", 3, unit=False, twins=True),
    ),
    mistakes=(
        Mistake("the inner product was not divided by the lengths", by_the_inner_product, 3),
        Mistake("it was divided by one of the two lengths only", one_length_forgotten, 3),
        Mistake("each code is its own first neighbour", first_of_all_itself),
        Mistake(
            "whatever comes first is dropped; where two codes are equal, that may be the other", first_one_dropped, 7
        ),
        Mistake("the farthest codes are returned", the_farthest),
        Mistake("distances are returned, and not cosines", by_the_distance),
        Mistake("the nearest comes last, and not first", nearest_last),
        Mistake(
            "the lengths of each dimension over all codes are divided out, and not the length of each code",
            normalised_by_column,
        ),
    ),
    also=tied,
)

# ---------------------------------------------------------------- precision of the neighbours


def precision(indices: Tensor, labels: Tensor) -> Tensor:
    return (labels[indices] == labels[:, None]).double().mean(1)


def labels_part(name: str, points: float, n: int, k: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        indices = torch.stack([torch.randperm(n, generator=generator)[:k] for _ in range(n)])
        return {"indices": indices, "labels": torch.randint(3, (n,), generator=generator)}

    return Part(name, points, inputs)


def one_number(indices: Tensor, labels: Tensor) -> Tensor:
    return (labels[indices] == labels[:, None]).double().mean()


def most_of_them(indices: Tensor, labels: Tensor) -> Tensor:
    return (labels[indices].mode(1).values == labels).double()


def recalled(indices: Tensor, labels: Tensor) -> Tensor:
    right = (labels[indices] == labels[:, None]).double().sum(1)
    return right / ((labels[:, None] == labels).double().sum(1) - 1).clamp(min=1)


def of_the_wrong_ones(indices: Tensor, labels: Tensor) -> Tensor:
    return (labels[indices] != labels[:, None]).double().mean(1)


def counted(indices: Tensor, labels: Tensor) -> Tensor:
    return (labels[indices] == labels[:, None]).double().sum(1)


PRECISION = Question(
    name="a1.precision",
    function="precision",
    reference=precision,
    parts=(labels_part("five neighbours", 3, 40, 5), labels_part("one neighbour", 2, 30, 1)),
    mistakes=(
        Mistake("one number for all is returned, and not one for each code", one_number),
        Mistake("the commonest label among the neighbours is compared, and the share is lost", most_of_them, 2),
        Mistake("the right neighbours are divided by how many there could be, which is the recall", recalled),
        Mistake("the wrong neighbours are counted", of_the_wrong_ones),
        Mistake("the right neighbours are counted, and not divided by k", counted, 2),
    ),
)

# ---------------------------------------------------------------- conditional probabilities of a perplexity


def conditional(codes: Tensor, perplexity: float) -> Tensor:
    """By bisection of log(beta), all rows together."""
    n = len(codes)
    squared = (codes[:, None] - codes[None]).square().sum(2).fill_diagonal_(torch.inf)
    squared = squared - squared.amin(1, keepdim=True)  # the nearest has exp(0), so no row is all zeros
    low, high = torch.full((n, 1), -60.0, dtype=torch.float64), torch.full((n, 1), 60.0, dtype=torch.float64)
    for _ in range(100):
        middle = (low + high) / 2
        p = (-middle.exp() * squared).softmax(1)
        wide = torch.special.entr(p).sum(1, keepdim=True).exp() > perplexity
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return p


def cloud_part(name: str, points: float, *, spread: tuple[float, ...], perplexity: float) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Clouds of 8 codes in 3 dimensions, of these widths, each moved away from the others."""
        clouds = [width * (table(generator, 8, 3) + 8.0 * i) for i, width in enumerate(spread)]
        return {"codes": torch.cat(clouds), "perplexity": perplexity}

    return Part(name, points, inputs)


def entropy_in_nats(codes: Tensor, perplexity: float) -> Tensor:
    squared = (codes[:, None] - codes[None]).square().sum(2).fill_diagonal_(torch.inf)
    squared = squared - squared.amin(1, keepdim=True)
    low, high = torch.full((len(codes), 1), -40.0), torch.full((len(codes), 1), 40.0)
    for _ in range(80):
        middle = (low + high) / 2
        p = (-middle.exp() * squared).softmax(1)
        wide = 2 ** torch.special.entr(p).sum(1, keepdim=True) > perplexity
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return p


def near_itself(codes: Tensor, perplexity: float) -> Tensor:
    squared = (codes[:, None] - codes[None]).square().sum(2)
    low, high = torch.full((len(codes), 1), -40.0), torch.full((len(codes), 1), 40.0)
    for _ in range(80):
        middle = (low + high) / 2
        p = (-middle.exp() * squared).softmax(1)
        wide = torch.special.entr(p).sum(1, keepdim=True).exp() > perplexity
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return p


def distance_not_squared(codes: Tensor, perplexity: float) -> Tensor:
    far = (codes[:, None] - codes[None]).square().sum(2).sqrt().fill_diagonal_(torch.inf)
    far = far - far.amin(1, keepdim=True)
    low, high = torch.full((len(codes), 1), -40.0), torch.full((len(codes), 1), 40.0)
    for _ in range(80):
        middle = (low + high) / 2
        p = (-middle.exp() * far).softmax(1)
        wide = torch.special.entr(p).sum(1, keepdim=True).exp() > perplexity
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return p


def one_width_for_all(codes: Tensor, perplexity: float) -> Tensor:
    squared = (codes[:, None] - codes[None]).square().sum(2).fill_diagonal_(torch.inf)
    low, high = -40.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        beta: float = 2.718281828**middle
        p = (-beta * squared).softmax(1)
        if float(torch.special.entr(p).sum(1).exp().mean()) > perplexity:
            low = middle
        else:
            high = middle
    return p


def narrow_bracket(codes: Tensor, perplexity: float) -> Tensor:
    squared = (codes[:, None] - codes[None]).square().sum(2).fill_diagonal_(torch.inf)
    low, high = torch.full((len(codes), 1), 0.01), torch.full((len(codes), 1), 100.0)
    for _ in range(80):
        middle = (low + high) / 2
        p = (-middle * squared).softmax(1)
        wide = torch.special.entr(p).sum(1, keepdim=True).exp() > perplexity
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return p


def columns_for_rows(codes: Tensor, perplexity: float) -> Tensor:
    squared = (codes[:, None] - codes[None]).square().sum(2).fill_diagonal_(torch.inf)
    squared = squared - squared.amin(1, keepdim=True)
    low, high = torch.full((len(codes), 1), -40.0), torch.full((len(codes), 1), 40.0)
    for _ in range(80):
        middle = (low + high) / 2
        p = (-middle.exp() * squared).softmax(1)
        wide = torch.special.entr(p).sum(1, keepdim=True).exp() > perplexity
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return p.T


def reversed_bisection(codes: Tensor, perplexity: float) -> Tensor:
    squared = (codes[:, None] - codes[None]).square().sum(2).fill_diagonal_(torch.inf)
    low, high = torch.full((len(codes), 1), -40.0), torch.full((len(codes), 1), 40.0)
    for _ in range(80):
        middle = (low + high) / 2
        p = (-middle.exp() * squared).softmax(1)
        wide = torch.special.entr(p).sum(1, keepdim=True).exp() > perplexity
        low, high = torch.where(wide, low, middle), torch.where(wide, middle, high)
    return p


def widest_of_all(codes: Tensor, perplexity: float) -> Tensor:
    n = len(codes)
    return (torch.ones(n, n) - torch.eye(n)) / (n - 1)


def narrowest_of_all(codes: Tensor, perplexity: float) -> Tensor:
    far = (codes[:, None] - codes[None]).square().sum(2).fill_diagonal_(torch.inf)
    return F.one_hot(far.argmin(1), len(codes)).double()


CONDITIONAL = Question(
    name="a1.conditional",
    function="conditional",
    reference=conditional,
    parts=(
        cloud_part("one cloud", 5, spread=(1.0,), perplexity=3.0),
        cloud_part("a narrow cloud and a wide one", 3, spread=(0.01, 30.0), perplexity=4.0),
        cloud_part("codes thousands apart", 2, spread=(3000.0,), perplexity=2.5),
    ),
    mistakes=(
        Mistake("the bisection walks the wrong way: a larger beta is a narrower neighbourhood", reversed_bisection),
        Mistake(
            "all rows end up at the nearest neighbour alone, as where 0 * log 0 makes the entropy NaN",
            narrowest_of_all,
        ),
        Mistake(
            "all rows end up as wide as can be, as where the entropy is NaN (0 * log 0), or not raised to a power of e",
            widest_of_all,
        ),
        Mistake("2 to the power of an entropy in natural logarithms was taken", entropy_in_nats),
        Mistake("each code is its own neighbour", near_itself),
        Mistake("the distance is not squared", distance_not_squared),
        Mistake("one width serves all codes, and not one each", one_width_for_all),
        Mistake(
            "rows and columns are exchanged: p[i, j] belongs to code i, and each row adds up to 1", columns_for_rows
        ),
        Mistake("beta is sought between 0.01 and 100 only", narrow_bracket, 5),
    ),
)

# ---------------------------------------------------------------- the gradient of t-SNE


def tsne_slope(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    """By automatic differentiation of -c sum p log w + log sum w, which is KL up to a constant for c = 1."""
    y = y.clone().requires_grad_()
    apart = ~torch.eye(len(y), dtype=torch.bool)
    log_w = -torch.log1p((y[:, None] - y[None]).square().sum(2)[apart])
    loss = -exaggeration * (p[apart] * log_w).sum() + log_w.exp().sum().log()
    (gradient,) = torch.autograd.grad(loss, y)
    return gradient


def map_part(name: str, points: float, *, dimensions: int, exaggeration: float) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        p = table(generator, 9, 9).exp().fill_diagonal_(0)
        p = p + p.T
        return {"p": p / p.sum(), "y": table(generator, 9, dimensions), "exaggeration": exaggeration}

    return Part(name, points, inputs)


def everything_exaggerated(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    way = y[:, None] - y[None]
    w = (1 / (1 + way.square().sum(2))).fill_diagonal_(0)
    return 4 * exaggeration * (((p - w / w.sum()) * w)[:, :, None] * way).sum(1)


def never_exaggerated(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    way = y[:, None] - y[None]
    w = (1 / (1 + way.square().sum(2))).fill_diagonal_(0)
    return 4 * (((p - w / w.sum()) * w)[:, :, None] * way).sum(1)


def without_w(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    way = y[:, None] - y[None]
    w = (1 / (1 + way.square().sum(2))).fill_diagonal_(0)
    return 4 * ((exaggeration * p - w / w.sum())[:, :, None] * way).sum(1)


def gaussian_map(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    way = y[:, None] - y[None]
    w = torch.exp(-way.square().sum(2)).fill_diagonal_(0)
    return 4 * ((exaggeration * p - w / w.sum())[:, :, None] * way).sum(1)


def row_by_row(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    way = y[:, None] - y[None]
    w = (1 / (1 + way.square().sum(2))).fill_diagonal_(0)
    return 4 * (((exaggeration * p - w / w.sum(1, keepdim=True)) * w)[:, :, None] * way).sum(1)


def itself_in_the_sum(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    way = y[:, None] - y[None]
    w = 1 / (1 + way.square().sum(2))
    return 4 * (((exaggeration * p - w / w.sum()) * w)[:, :, None] * way).sum(1)


def apart_for_together(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    way = y[:, None] - y[None]
    w = (1 / (1 + way.square().sum(2))).fill_diagonal_(0)
    return 4 * (((w / w.sum() - exaggeration * p) * w)[:, :, None] * way).sum(1)


def only_the_plane(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    a, b = y[:, :1] - y[:, :1].T, y[:, 1:2] - y[:, 1:2].T
    w = (1 / (1 + a**2 + b**2)).fill_diagonal_(0)
    pull = 4 * (exaggeration * p - w / w.sum()) * w
    return torch.stack([(pull * a).sum(1), (pull * b).sum(1)], 1)


def q_not_divided(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    way = y[:, None] - y[None]
    w = (1 / (1 + way.square().sum(2))).fill_diagonal_(0)
    return 4 * (((exaggeration * p - w) * w)[:, :, None] * way).sum(1)


def distance_in_the_map(p: Tensor, y: Tensor, exaggeration: float) -> Tensor:
    way = y[:, None] - y[None]
    w = (1 / (1 + way.square().sum(2).sqrt())).fill_diagonal_(0)
    return 4 * (((exaggeration * p - w / w.sum()) * w)[:, :, None] * way).sum(1)


TSNE_SLOPE = Question(
    name="a1.tsne_slope",
    function="tsne_slope",
    reference=tsne_slope,
    parts=(
        map_part("a map in the plane", 8, dimensions=2, exaggeration=1.0),
        map_part("exaggerated twelve times", 4, dimensions=2, exaggeration=12.0),
        map_part("a map in space", 3, dimensions=3, exaggeration=1.0),
    ),
    mistakes=(
        Mistake("the exaggeration multiplies the repulsion, too", everything_exaggerated, 11),
        Mistake("the exaggeration is not used", never_exaggerated, 11),
        Mistake("the factor w, which makes far points weak, is missing", without_w),
        Mistake("w is a Gaussian, and not 1 / (1 + d^2)", gaussian_map),
        Mistake("q is divided by each row's sum, and not by the sum over all pairs", row_by_row),
        Mistake("pairs of a point with itself count in the sum of w", itself_in_the_sum),
        Mistake("the sign is reversed: this goes uphill", apart_for_together),
        Mistake("only the first two dimensions move", only_the_plane, 12),
        Mistake("q is w itself, not divided by the sum over all pairs", q_not_divided),
        Mistake("w is 1 / (1 + d), and d should be squared", distance_in_the_map),
    ),
)

# ---------------------------------------------------------------- filters as images


def filter_images(weight: Tensor) -> Tensor:
    slices = weight if weight.shape[1] == 3 else weight.reshape(-1, 1, *weight.shape[2:])
    largest = torch.maximum(slices.flatten(1).amax(1), -slices.flatten(1).amin(1)).clamp(min=1e-12)
    return (slices / largest[:, None, None, None]).add(1).div(2).expand(-1, 3, -1, -1)


def filters_part(name: str, points: float, channels: int, *, empty: bool = False) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Filters of very different strength, and none whose values lie evenly round zero."""
        weight = torch.randn(4, channels, 5, 5, generator=generator, dtype=torch.float64) + 0.3
        weight = weight * 10 ** (2 * torch.rand(4, 1, 1, 1, generator=generator, dtype=torch.float64) - 1)
        if empty:
            weight[int(torch.randint(4, (1,), generator=generator))] = 0
        return {"weight": weight}

    return Part(name, points, inputs)


def from_least_to_most(weight: Tensor) -> Tensor:
    x = weight if weight.shape[1] == 3 else weight.flatten(0, 1)[:, None]
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return ((x - low) / (high - low).clamp(min=1e-12)).expand(-1, 3, -1, -1)


def one_scale_for_all(weight: Tensor) -> Tensor:
    x = weight if weight.shape[1] == 3 else weight.flatten(0, 1)[:, None]
    return (0.5 + 0.5 * x / x.abs().max()).expand(-1, 3, -1, -1)


def each_colour_alone(weight: Tensor) -> Tensor:
    x = weight if weight.shape[1] == 3 else weight.flatten(0, 1)[:, None]
    return (0.5 + 0.5 * x / x.abs().amax((2, 3), keepdim=True).clamp(min=1e-12)).expand(-1, 3, -1, -1)


def half_forgotten(weight: Tensor) -> Tensor:
    x = weight if weight.shape[1] == 3 else weight.flatten(0, 1)[:, None]
    return (0.5 + x / x.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)).expand(-1, 3, -1, -1)


def black_for_zero(weight: Tensor) -> Tensor:
    x = weight if weight.shape[1] == 3 else weight.flatten(0, 1)[:, None]
    return (x.abs() / x.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)).expand(-1, 3, -1, -1)


def channel_by_channel(weight: Tensor) -> Tensor:
    x = weight if weight.shape[1] == 3 else weight.transpose(0, 1).flatten(0, 1)[:, None]
    return (0.5 + 0.5 * x / x.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)).expand(-1, 3, -1, -1)


FILTER_IMAGES = Question(
    name="a1.filter_images",
    function="filter_images",
    reference=filter_images,
    parts=(
        filters_part("filters of a first layer", 3, 3),
        filters_part("one filter that is zero", 1, 3, empty=True),
        filters_part("a higher layer, slice by slice", 2, 6),
    ),
    mistakes=(
        Mistake("each filter is stretched from its least to its largest value, so that zero is no mid grey",
                from_least_to_most),
        Mistake("all filters share one scale, and the weak ones cannot be seen", one_scale_for_all),
        Mistake("each colour has a scale of its own, and the colours are wrong", each_colour_alone, 2),
        Mistake("values run from -0.5 to 1.5: the factor 1/2 is missing", half_forgotten),
        Mistake("the signs are lost: zero is black, and not mid grey", black_for_zero),
        Mistake("slices go channel by channel, and should go filter by filter", channel_by_channel, 4),
    ),
)  # fmt: skip

# ---------------------------------------------------------------- how much of a filter is colour


def colour_share(weight: Tensor) -> Tensor:
    return measure.colour_energy(weight)


def share_part(name: str, points: float, *, pure: bool) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Random filters; or the first one grey, the second one colour alone, the rest mixed."""
        weight = torch.randn(5, 3, 5, 5, generator=generator, dtype=torch.float64)
        grey = weight.mean(1, keepdim=True)
        if pure:
            weight = torch.cat([grey.expand(-1, 3, -1, -1)[:1], (weight - grey)[1:2], (weight + 2 * grey)[2:]])
        return {"weight": weight}

    return Part(name, points, inputs)


def share_of_grey(weight: Tensor) -> Tensor:
    grey = weight.mean(1, keepdim=True)
    return 3 * grey.square().sum((1, 2, 3)) / weight.square().sum((1, 2, 3))


def three_forgotten(weight: Tensor) -> Tensor:
    grey = weight.mean(1)
    return 1 - grey.square().sum((1, 2)) / weight.square().sum((1, 2, 3))


def lengths_for_squares(weight: Tensor) -> Tensor:
    colour = weight - weight.mean(1, keepdim=True)
    return (colour.square().sum((1, 2, 3)) / weight.square().sum((1, 2, 3))).sqrt()


def never_divided(weight: Tensor) -> Tensor:
    return (weight - weight.mean(1, keepdim=True)).square().sum((1, 2, 3))


def less_the_whole_mean(weight: Tensor) -> Tensor:
    colour = weight - weight.mean((1, 2, 3), keepdim=True)
    return colour.square().sum((1, 2, 3)) / weight.square().sum((1, 2, 3))


COLOUR_SHARE = Question(
    name="a1.colour_share",
    function="colour_share",
    reference=colour_share,
    parts=(
        share_part("random filters", 2, pure=False),
        share_part("filters of grey, of colour, and mixed", 2, pure=True),
    ),
    mistakes=(
        Mistake("the share of grey is returned, and not that of colour", share_of_grey),
        Mistake("the grey stands in three channels, and was counted once", three_forgotten),
        Mistake("lengths are divided, and not their squares", lengths_for_squares),
        Mistake("it is not divided by the whole", never_divided),
        Mistake("the mean over the whole filter was taken off, and not that over the colours at each position",
                less_the_whole_mean),
    ),
)  # fmt: skip

# ---------------------------------------------------------------- the facets of a class


def facets(codes: Tensor, images: Tensor, centres: Tensor, nearest: int) -> Tensor:
    away = torch.cdist(codes, centres)  # (n, k)
    outside = F.one_hot(away.argmin(1), len(centres)) == 0
    rank = away.masked_fill(outside, torch.inf).argsort(0).argsort(0)
    chosen = ((rank < nearest) & ~outside).to(images.dtype)  # (n, k)
    mean: Tensor = torch.einsum("nk,nchw->kchw", chosen / chosen.sum(0), images)
    return mean


def facets_part(name: str, points: float, sizes: tuple[int, ...], nearest: int) -> Part:
    def inputs(generator: Generator) -> dict[str, Plain]:
        """Clusters of codes far from each other, in any order."""
        spread = torch.randn(len(sizes), 4, generator=generator, dtype=torch.float64)
        centres = 9 * torch.eye(len(sizes), 4, dtype=torch.float64) + spread
        member = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        member = member[torch.randperm(len(member), generator=generator)]
        codes = centres[member] + torch.randn(len(member), 4, generator=generator, dtype=torch.float64)
        images = torch.rand(len(member), 3, 3, 4, generator=generator, dtype=torch.float64)
        return {"codes": codes, "images": images, "centres": centres, "nearest": nearest}

    return Part(name, points, inputs)


def whole_clusters(codes: Tensor, images: Tensor, centres: Tensor, nearest: int) -> Tensor:
    member = torch.cdist(codes, centres).argmin(1)
    return torch.stack([images[member == k].mean(0) for k in range(len(centres))])


def of_any_cluster(codes: Tensor, images: Tensor, centres: Tensor, nearest: int) -> Tensor:
    rows = torch.cdist(centres, codes).topk(nearest, largest=False).indices
    return images[rows].mean(1)


def farthest_of_the_cluster(codes: Tensor, images: Tensor, centres: Tensor, nearest: int) -> Tensor:
    away = torch.cdist(codes, centres)
    member, found = away.argmin(1), []
    for k in range(len(centres)):
        mine = (member == k).nonzero()[:, 0]
        found.append(images[mine[away[mine, k].argsort(descending=True)[:nearest]]].mean(0))
    return torch.stack(found)


def nearest_alone(codes: Tensor, images: Tensor, centres: Tensor, nearest: int) -> Tensor:
    return images[torch.cdist(centres, codes).argmin(1)]


def added_up(codes: Tensor, images: Tensor, centres: Tensor, nearest: int) -> Tensor:
    away = torch.cdist(codes, centres)
    member, found = away.argmin(1), []
    for k in range(len(centres)):
        mine = (member == k).nonzero()[:, 0]
        found.append(images[mine[away[mine, k].argsort()[:nearest]]].sum(0))
    return torch.stack(found)


def small_clusters_padded(codes: Tensor, images: Tensor, centres: Tensor, nearest: int) -> Tensor:
    away = torch.cdist(codes, centres)
    member, found = away.argmin(1), []
    for k in range(len(centres)):
        mine = (member == k).nonzero()[:, 0]
        found.append(images[mine[away[mine, k].argsort()[:nearest]]].sum(0) / nearest)
    return torch.stack(found)


FACETS = Question(
    name="a1.facets",
    function="facets",
    reference=facets,
    parts=(
        facets_part("clusters of one size", 3, (6, 6, 6), 4),
        facets_part("clusters that are smaller than asked for", 2, (3, 9, 5), 6),
    ),
    mistakes=(
        Mistake("the whole cluster is averaged, and not the images nearest to its centre", whole_clusters),
        Mistake("images of other clusters are averaged where the cluster has too few", of_any_cluster, 3),
        Mistake("the images farthest from the centre are averaged", farthest_of_the_cluster),
        Mistake("only the nearest image is returned, and no mean of several", nearest_alone),
        Mistake("the images are added up, and not averaged", added_up),
        Mistake(
            "a small cluster is divided by `nearest`, and not by the number of its images", small_clusters_padded, 3
        ),
    ),
)

WRITTEN = (
    Written(
        "a1.company",
        5,
        "1 point: the method saw pairs in sessions only; both spellings meet the same company (the same u's). "
        "2 points: quotes precision with its interval for few and for many sessions, against chance. "
        "2 points: a word of the student's own table, a reason, and a number that tests it (how often it was read, "
        "another seed of the training, another town); a reason that the number refutes is worth as much as one that "
        "it supports.",
    ),
    Written(
        "a1.map",
        5,
        "2 points: compares PCA and t-SNE by precision, kept and trust, with n and interval. 2 points: two things "
        "that must not be read from the map (widths and gaps of islands, their positions, axes), with what the three "
        "perplexities show. 1 point: why precision may be higher than the share kept: it asks for the same label "
        "only, and an island has many points of one label.",
    ),
    Written(
        "a1.own",
        10,
        "3 points: neighbours of the student's own photograph, by their own functions, and the layer and settings "
        "that made them. 3 points: two other codes beside it (another layer, the pixels), and what each one calls "
        "alike. 2 points: a number with its interval that supports the choice. 2 points: a query where it fails, and "
        "a guess why that a further look could refute.",
    ),
)

ASSIGNMENT = Assignment(
    name="a1_embeddings",
    title="Embeddings, neighbours, maps",
    questions=(
        PAIRS,
        SKIP_GRAM_STEP,
        NEIGHBOURS,
        PRECISION,
        CONDITIONAL,
        TSNE_SLOPE,
        FILTER_IMAGES,
        COLOUR_SHARE,
        FACETS,
    ),
    written=WRITTEN,
)
