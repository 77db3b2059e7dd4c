"""The connection to the Dask cluster that `--scheduler` names, or to one that it starts on this machine."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tflq.errors import RecipeError

if TYPE_CHECKING:
    import distributed

SECONDS_TO_CONNECT = 20
LOST_WORKER_TIMEOUT = "365 days"
"""How long a cluster of this machine waits for a worker that starts again: it never gives up.

By default, Dask waits 15 seconds. Then it closes the worker, with the task that the worker may have by then. Two
workers that die in a row on a busy machine are enough for that.
"""


def connect(address: str, jobs: int, stack: ExitStack) -> distributed.Client:
    """Return a client of the scheduler at the address, or of a new cluster of `jobs` workers if it is `local`.

    The stack closes that cluster. RecipeError if Dask is not installed, or if no scheduler answers.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise RecipeError("--scheduler needs Dask, which is not installed: pip install tflq[dask]") from error
    for name in (*logging.root.manager.loggerDict, "asyncio"):  # they print tracebacks if the scheduler dies
        if name.startswith(("distributed", "tornado", "asyncio")):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        if address == "local":
            stack.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": LOST_WORKER_TIMEOUT}))
            cluster = distributed.LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None)
            return distributed.Client(stack.enter_context(cluster))
        return distributed.Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise RecipeError(f"--scheduler {address}: no Dask scheduler answers at this address: {error}") from error
