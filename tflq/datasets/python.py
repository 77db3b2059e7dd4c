"""`{python: mypackage.data:rows}`: a Python function of the user."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from tflq.datasets.foreign import ForeignCode
from tflq.datasets.rows import Row, TensorSpec
from tflq.errors import DatasetError
from tflq.strict import FunctionName, FunctionOfFolder, RecipePath, did_you_mean

END = object()


class Python(FunctionOfFolder):
    """A Python function without arguments. It yields rows or returns a sequence of them. A row is a dict of columns."""

    EXAMPLE: ClassVar[str] = "{python: mymodule:rows}"

    python: FunctionName = Field(description="module:function, such as mypackage.data:rows")
    folder: RecipePath = Field(
        Path(), validate_default=True, description="Folder of the module. Default: the folder of the recipe."
    )

    def __str__(self) -> str:
        return self.python

    def files(self) -> None:
        """None: the files that the rows depend on are unknown."""

    def count(self) -> int | None:
        rows = self._call()
        if not _is_indexed(rows):
            return None
        with self._foreign():
            return len(rows)

    def rows(self, indices: Sequence[int], _specs: Sequence[TensorSpec] = ()) -> Iterator[Row]:
        rows = self._call()
        numbered = self._pick(rows, indices) if _is_indexed(rows) else self._iterate(rows, indices)
        for index, row in numbered:
            if not isinstance(row, Mapping):
                raise DatasetError(
                    f"{self}: row {index} is a {type(row).__name__};"
                    " it should be a dict that maps column names to arrays or numbers"
                )
            yield row

    def _pick(self, rows: Sequence[Any], indices: Sequence[int]) -> Iterator[tuple[int, Any]]:
        for index in indices:
            with self._foreign():
                row = rows[index]
            yield index, row

    def _iterate(self, rows: Any, indices: Sequence[int]) -> Iterator[tuple[int, Any]]:
        remaining = iter(indices)
        following = next(remaining, None)
        with self._foreign():
            iterator = iter(rows)
        for index in count():
            if following is None:
                return
            with self._foreign():
                row = next(iterator, END)
            if row is END:
                return
            if index == following:
                yield index, row
                following = next(remaining, None)

    def _call(self) -> Any:
        name, _, attribute = self.python.partition(":")
        with self._foreign():
            module = importlib.import_module(name)
        self._refuse_namesake(name, module.__file__)
        function = getattr(module, attribute, None)
        if not callable(function):
            hint = did_you_mean(attribute, [key for key, value in vars(module).items() if callable(value)])
            raise DatasetError(f"{self}: {module.__file__} has no function {attribute!r}{hint}")
        self._refuse_parameters(function)
        with self._foreign():
            rows = function()
        if isinstance(rows, (Mapping, str, bytes)) or not (_is_indexed(rows) or hasattr(rows, "__iter__")):
            raise DatasetError(
                f"{self}: returned a {type(rows).__name__}; it should yield rows, or return a sequence of rows"
            )
        return rows

    def _refuse_parameters(self, function: Callable[..., Any]) -> None:
        """Raise DatasetError if the function cannot be called without arguments."""
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            raise DatasetError(
                f"{self}: {error}, but it is called without arguments: give each parameter a default value"
            ) from error
        except ValueError:  # a built-in function without a signature
            return

    def _foreign(self) -> ForeignCode:
        return ForeignCode(self.python, self.folder.absolute())

    def _refuse_namesake(self, name: str, loaded: str | None) -> None:
        """Raise DatasetError if Python has loaded a module of that name from another place."""
        stem = self.folder.absolute().joinpath(*name.split("."))
        here = [path for path in (stem / "__init__.py", stem.with_suffix(".py")) if path.is_file()]
        if here and (loaded is None or not here[0].samefile(loaded)):
            raise DatasetError(
                f"{self}: Python already has another module {name!r} ({loaded or 'built in'}) than {here[0]}:"
                " rename yours"
            )


def _is_indexed(rows: Any) -> bool:
    return hasattr(rows, "__len__") and hasattr(rows, "__getitem__")
