"""Where the runs of a sweep happen: beside each other on this machine, or on the workers of a Dask cluster.

Dask, because it is one package of pure Python without a server to set up: ``dask scheduler`` on one machine and
``dask worker ADDRESS --nthreads 1`` on each are all that it takes, the scheduler gives the runs of a worker that died
to another, and where there is Slurm, ``dask-jobqueue`` starts the workers as its jobs. Every machine needs the same
checkout at the same path; a worker with other code or other versions refuses. Nothing else is shared: the notebooks
come back through the scheduler, and one process writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent import futures

from mpbook import worker
from mpbook.attempts import Attempt, Job, attempt
from mplib.errors import MplibError

CONNECT = 10
"""Seconds that a scheduler is given to answer."""


def run_here(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Attempt]]:
    """Run jobs on this machine.

    Args:
        jobs: what to run.
        workers: how many at a time.

    Yields:
        Each job with its attempt, in the order in which they end.
    """
    pool = futures.ThreadPoolExecutor(workers)
    try:
        waiting = {pool.submit(attempt, job): job for job in jobs}
        for done in futures.as_completed(waiting):
            yield waiting[done], done.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        worker.stop_all()


def run_on_cluster(jobs: Sequence[Job], address: str) -> Iterator[tuple[Job, Attempt]]:
    """Run jobs on the workers of a running Dask scheduler; those of a worker that dies are given to another.

    Args:
        jobs: what to run.
        address: of the scheduler, as ``tcp://host:8786``.

    Yields:
        Each job with its attempt, in the order in which they end.

    Raises:
        MplibError: Dask is not installed, or nothing answers at the address.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise MplibError("a scheduler needs Dask, expected 'pip install metaperturb-book[cluster]'") from error
    try:
        client = distributed.Client(address, timeout=CONNECT)
    except (OSError, ValueError) as error:
        raise MplibError(f"no Dask scheduler answers at {address!r} ({error}), expected tcp://host:port") from error
    with client:
        # Not pure: the same job asked for twice is two attempts, since the first may have failed.
        waiting = {client.submit(attempt, job, pure=False): job for job in jobs}
        for done in distributed.as_completed(waiting):
            try:
                yield waiting[done], done.result()
            # Whatever the cluster makes of it (a worker that died too often, a package it lacks) is this run's failure.
            except Exception as error:
                yield waiting[done], Attempt([f"the cluster gave {type(error).__name__}: {error}"])
            done.release()
