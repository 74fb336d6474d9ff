"""One clear error for each kind of bad input: it names the culprit and the choices."""

import hashlib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["check_options", "check_shipped", "require", "sums_beside", "unknown"]

Options = TypeVar("Options", bound=Mapping[str, Any])


def require(condition: bool, message: str) -> None:
    """Raise ValueError(message) unless the condition holds.

    Args:
        condition: What must hold.
        message: Names the culprit and the choices.
    """
    if not condition:
        raise ValueError(message)


def unknown(kind: str, name: object, choices: Iterable[str], wanted_by: str = "") -> ValueError:
    """The error for a name that is not among the choices, with the nearest ones first: no layer 'conv9'; ...

    Args:
        kind: What the name should be: "layer".
        name: What was given.
        choices: What there is.
        wanted_by: What needs it, if that is not plain: "the term activation('conv9', 3)".
    """
    choices = [str(choice) for choice in choices]
    nearest = get_close_matches(str(name), choices, n=3, cutoff=0.5)
    if not nearest:  # 'fc8' for 'classifier.6' is beyond spelling; a part of a long name is not
        nearest = [choice for choice in choices if str(name).lower() in choice.lower()][:3]
    hint = _hint(nearest)
    shown = choices if len(choices) <= 40 else [*choices[:39], f"... {len(choices)} in all"]
    reason = f" for {wanted_by}" if wanted_by else ""
    return ValueError(f"no {kind} {name!r}{hint}{reason}; choose from {', '.join(shown)}")


def _hint(nearest: Iterable[str]) -> str:
    return f" (did you mean {' or '.join(map(repr, nearest))}?)" if nearest else ""


def check_options(
    function: str, given: Options, known: type, *, without: Iterable[str] = (), beside: Iterable[str] = ()
) -> Options:
    """Raise unless every option that a function was given is one that it knows.

    Args:
        function: Name of the function that was called.
        given: Its options.
        known: The TypedDict that lists them.
        without: Those of the list that this function does not take.
        beside: Its own parameters, which a mistyped name may have meant too.

    Returns:
        The same options.

    Raises:
        TypeError: It names the function, the option and the nearest names.
    """
    choices = [*beside, *(name for name in known.__annotations__ if name not in without)]
    for name in given:
        if name not in choices:
            nearest = get_close_matches(name, choices, n=3, cutoff=0.5)
            raise TypeError(
                f"{function}() has no option {name!r}{_hint(nearest)}; its options are {', '.join(choices)}"
            )
    return given


def sums_beside(path: Path) -> dict[str, str]:
    """SHA-256 by name of file, from the SHA256SUMS in the same folder; none where there is no such list.

    Args:
        path: A file of that folder.
    """
    sums = path.parent / "SHA256SUMS"
    return dict(line.split()[::-1] for line in sums.read_text().splitlines()) if sums.exists() else {}


def check_shipped(path: Path) -> None:
    """Raise ValueError unless the file is the one that SHA256SUMS beside it lists, if that lists it.

    Args:
        path: The file.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    same = sums_beside(path).get(path.name, digest) == digest
    require(same, f"{path} is not the file that was shipped: its SHA-256 is {digest}")
