"""One clear error for each kind of bad input: it names the culprit and the choices."""

import hashlib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor


def require(condition: bool, message: str) -> None:
    """Raise ValueError(message) unless the condition holds."""
    if not condition:
        raise ValueError(message)


def unknown(kind: str, name: object, choices: Iterable[str]) -> ValueError:
    """The error for a name that is not among the choices, with the nearest ones first: no layer 'conv9'; ..."""
    choices = [str(choice) for choice in choices]
    nearest = get_close_matches(str(name), choices, n=3, cutoff=0.5)
    if not nearest:  # 'fc8' for 'classifier.6' is beyond spelling; a part of a long name is not
        nearest = [choice for choice in choices if str(name).lower() in choice.lower()][:3]
    hint = f" (did you mean {' or '.join(map(repr, nearest))}?)" if nearest else ""
    shown = choices if len(choices) <= 40 else [*choices[:39], f"... {len(choices)} in all"]
    return ValueError(f"no {kind} {name!r}{hint}; choose from {', '.join(shown)}")


def check_pictures(x: Tensor, low: float = 0.0, high: float = 1.0) -> None:
    """Raise unless x is a batch of pictures: (n, 3, h, w), n >= 1, floating, finite, in [low, high].

    A thousandth outside the range is let pass: filters and Fourier sums round.
    Raises TypeError for what is not a floating tensor, ValueError otherwise.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"pictures are a torch tensor (n, 3, h, w), got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"pictures are float in [0, 1], got {x.dtype}; divide 8-bit values by 255")
    # `if`, not require: this runs in each step of each loop, and a message costs more than its test
    if x.dim() != 4 or x.shape[1] != 3:
        raise ValueError(f"pictures have shape (n, 3, h, w), got {tuple(x.shape)}")
    if x.numel() == 0:
        raise ValueError(f"no pictures in a batch of shape {tuple(x.shape)}")
    least, most = (bound.item() for bound in torch.aminmax(x.detach()))
    if least != least:
        raise ValueError("pictures hold NaN")
    if least < low - 1e-3 or most > high + 1e-3:
        raise ValueError(f"pictures lie in [{low:g}, {high:g}], got [{least:.4g}, {most:.4g}]")


def check_choice(chosen: int | Tensor, n: int, count: int, what: str) -> None:
    """Raise unless chosen is one whole number, or (n,) of them for n pictures, in 0 ... count - 1.

    Raises TypeError for what is not whole, ValueError for a wrong number of them or one out of range.
    """
    if type(chosen) is int:  # the usual case, in each step of each loop: no tensors
        least = most = chosen
    else:
        numbers = torch.as_tensor(chosen)
        if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
            raise TypeError(f"the {what} is a whole number, got {chosen}")
        require(numbers.shape in ((), (n,)), f"the {what} is one int or {n} of them, got shape {tuple(numbers.shape)}")
        least, most = int(numbers.min()), int(numbers.max())
    if least < 0 or most >= count:
        wrong = least if least < 0 else most
        raise ValueError(f"no {what} with number {wrong}: they go from 0 to {count - 1}")


def sums_beside(path: Path) -> dict[str, str]:
    """SHA-256 by name of file, from the SHA256SUMS in the same folder; none where there is no such list."""
    sums = path.parent / "SHA256SUMS"
    return dict(line.split()[::-1] for line in sums.read_text().splitlines()) if sums.exists() else {}


def check_shipped(path: Path) -> None:
    """Raise ValueError unless the file is the one that SHA256SUMS beside it lists, if that lists it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    same = sums_beside(path).get(path.name, digest) == digest
    require(same, f"{path} is not the file that was shipped: its SHA-256 is {digest}")
