"""Independent pieces of work: on this machine, or on the workers of a Dask cluster."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Semaphore
from typing import Any, TypeVar
from uuid import uuid4

import joblib
import torch

__all__ = ["check_sendable", "each", "parallel"]

WAIT = 10  # seconds for a scheduler to answer, and for a worker to come
AHEAD = 16  # pieces for each thread of the workers that are handed out at a time: results that wait are in memory

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def each(
    function: Callable[[Piece], Result], pieces: Sequence[Piece], *, scheduler: str | None = None
) -> Iterator[Result]:
    """function(piece) for each piece, in the order of the pieces, wherever it is computed and whoever is done first.

    The workers get the function once, whatever it carries (see `functools.partial`). They compute a piece with as many
    threads of torch as this machine would, since the last bits of a sum depend on their number, and so many pieces at a
    time that their threads have a core each. A piece whose worker died is computed by another one.

    Args:
        function: What to compute; the same piece must give the same result.
        pieces: What it takes, small: numbers of images, rather than the images.
        scheduler: As in `parallel`; None computes here, a piece at a time, when its result is asked for.

    Yields:
        The results.

    Raises:
        ValueError: As `parallel`.

    Example:
        >>> list(each(abs, [-1, 2, -3]))
        [1, 2, 3]
    """
    if scheduler is None:
        yield from map(function, pieces)
        return
    shared = _Shared(_pickled(function), torch.get_num_threads())
    with parallel(scheduler, shared) as pool:
        some = AHEAD * pool.n_jobs
        for first in range(0, len(pieces), some):
            try:
                yield from pool(joblib.delayed(_compute)(shared, piece) for piece in pieces[first : first + some])
            except _dask().CancelledError as error:  # Dask's word for work whose every copy is lost
                raise RuntimeError(
                    f"all workers of {scheduler!r} went at once; call again when some are back"
                ) from error


@contextmanager
def parallel(
    scheduler: str | None, *shared: object, jobs: int | None = None, ordered: bool = True
) -> Iterator["joblib.Parallel"]:
    """joblib on the threads of this machine, or on the workers of a Dask cluster, which it leaves at the end.

    Args:
        scheduler: Address of the cluster's scheduler, "tcp://host:8786". Its workers have this package, in the same
            version, and see files under the same paths. None works on this machine.
        shared: Arguments of the work that each worker is sent once, beforehand.
        jobs: Threads of this machine; None takes as many as there are cores.
        ordered: Whether results come in the order of the work, or else as soon as they are there.

    Yields:
        What takes delayed calls, and gives a generator of their results.

    Raises:
        ModuleNotFoundError: This machine has no Dask.
        TypeError: An address that is no string.
        ValueError: No scheduler answers there, or it has no worker.
    """
    options = {"return_as": "generator" if ordered else "generator_unordered", "batch_size": 1}
    if scheduler is None:
        yield joblib.Parallel(-1 if jobs is None else jobs, "threading", **options)
        return
    with _client(scheduler) as client:
        yield joblib.Parallel(_threads(client), _backend(client, shared), **options)


def check_sendable(what: str, value: object, instead: str) -> None:
    """Raise TypeError unless a value can be pickled, and so sent to workers.

    Args:
        what: What it is, for the error: "the network".
        value: What is to be sent.
        instead: What the user may do instead.
    """
    try:
        _pickled(value)
    except Exception as error:  # what an object raises that does not want to be pickled has no common class
        raise TypeError(
            f"{what} ({type(value).__name__}) cannot be sent to the workers: {error}; {instead}, or leave scheduler out"
        ) from error


def _pickled(value: object) -> bytes:
    """A class of a notebook goes along."""
    pickled: bytes = _dask().protocol.pickle.dumps(value)
    return pickled


class _Shared:
    """A function on its way to the workers, each of which keeps one: pickled, as it may change while it works."""

    def __init__(self, pickled: bytes, threads: int):
        self.pickled, self.threads = pickled, threads

    def __call__(self, piece: Any) -> Any:
        with self.room:
            torch.set_num_threads(self.threads)
            return self.function(piece)

    @cached_property
    def function(self) -> Callable[[Any], Any]:
        try:
            return pickle.loads(self.pickled)  # type: ignore[no-any-return]
        except ImportError as error:
            error.add_note("on a worker of the cluster, which needs this package, and the module of the network")
            raise

    @cached_property
    def room(self) -> Semaphore:
        """So many pieces at a time that each of their threads has a core of those that the worker was given."""
        return Semaphore(max(1, _dask().get_worker().state.nthreads // self.threads))

    def __reduce__(self) -> tuple[Any, ...]:  # from one worker to another, too
        return _Shared, (self.pickled, self.threads)

    def __dask_tokenize__(self) -> str:
        return uuid4().hex  # by its content, Dask would take it for that of an earlier call, which it may be forgetting


def _compute(shared: _Shared, piece: Any) -> Any:
    return shared(piece)


def _dask() -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a scheduler needs Dask: pip install distributed") from error
    return distributed


def _client(scheduler: str) -> Any:
    """A connection to a scheduler that has a worker."""
    if not isinstance(scheduler, str):
        raise TypeError(f'scheduler is an address, such as "tcp://host:8786", got {type(scheduler).__name__}')
    dask = _dask()
    try:
        dask.comm.get_address_host_port(scheduler)  # what is no address would leave a half-made client behind
        client = dask.Client(scheduler, timeout=WAIT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no Dask scheduler answers at {scheduler!r} ({error}); give the address that `dask scheduler` prints, "
            'such as "tcp://host:8786", or leave scheduler out to work on this machine'
        ) from error
    try:
        client.wait_for_workers(1, timeout=WAIT)
    except TimeoutError as error:
        client.close()
        raise ValueError(
            f"the scheduler at {scheduler!r} has no worker: start one, `dask worker {scheduler}`"
        ) from error
    return client


def _backend(client: Any, shared: Sequence[object]) -> Any:
    """joblib's backend for the workers of a cluster."""
    from joblib._dask import DaskDistributedBackend

    class Workers(DaskDistributedBackend):  # type: ignore[misc]
        def effective_n_jobs(self, n_jobs: int) -> int:
            """At least 2, also while workers come and go: the work of one thread joblib would do itself, here."""
            return max(2, _threads(self.client))

    return Workers(client=client, scatter=shared)


def _threads(client: Any) -> int:
    """How many threads the workers of a cluster have together."""
    return sum(client.nthreads().values())
