"""The workers of a Dask cluster that can convert models: those with the packages and the files of this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tflq import cache
from tflq.errors import ClusterError

if TYPE_CHECKING:
    import distributed

MAX_FILES = 100
"""At most this number of files of a model is looked for, since a dataset may have very many."""


@dataclass(frozen=True)
class UnfitWorker:
    """A worker that cannot convert a model, and why. It returns this in place of a result."""

    address: str
    reason: str


@dataclass
class ClusterWorkers:
    """The workers of the cluster. Those that cannot convert models get no other model."""

    client: distributed.Client
    note: Callable[[str], None]
    """The function that is called with a sentence for each worker that is not used."""
    unfit: dict[str, str] = field(default_factory=dict)
    """The reason by the address of the worker."""

    def compare_versions(self) -> None:
        """Compare the packages of all present workers with those of this process."""
        for package, version in cache.versions(trains=False).items():
            found = self.client.run(metadata.version, package, on_error="return")
            for address, there in found.items():
                if there != version:
                    self.add(UnfitWorker(address, differing(package, version, there)))

    def add(self, worker: UnfitWorker) -> None:
        """Give the worker no other model. Tell of it once."""
        if worker.address not in self.unfit:
            self.unfit[worker.address] = worker.reason
            self.note(f"the worker {worker.address} was not used: {worker.reason}")

    def chosen(self) -> list[str] | None:
        """Return the addresses of the workers that may convert models; None if all may.

        Raise ClusterError if there are workers, and none of them may.
        """
        if not self.unfit:
            return None
        fit = [address for address in self.client.nthreads() if address not in self.unfit]
        if not fit:
            address, reason = next(iter(self.unfit.items()))
            raise ClusterError(f"no worker of the cluster can convert this model: {address}: {reason}")
        return fit


def differing(package: str, here: str, there: object) -> str:
    """Return why a worker with another version of a package cannot be used. `there` is an exception if it has none."""
    has = f"it has {package} {there}" if isinstance(there, str) else f"{package} is not installed there"
    return f"{has}, and this process has {package} {here}: install the same version on all workers"


def why_unfit(versions: Mapping[str, str], files: Sequence[Path]) -> str:
    """Return why this process cannot convert a model for one with these versions and files, or an empty text."""
    for package, there in cache.versions(trains=False).items():
        if versions.get(package) != there:
            return differing(package, str(versions.get(package)), there)
    for file in files[:MAX_FILES]:
        if not _is_seen(file):
            return f"it does not see {file}: give all workers the same folders"
    return ""


def _is_seen(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # a folder above it cannot be read
        return False
