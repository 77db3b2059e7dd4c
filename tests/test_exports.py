"""A package's `__init__.py` says what the package is and exports names; what it defines is in its modules."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "tflq"


def definitions(file: Path) -> list[str]:
    """`package/__init__.py:line` of each statement that is no docstring, no import and not `__all__`."""
    statements = ast.parse(file.read_text(encoding="utf-8")).body
    return [f"{file.relative_to(PACKAGE)}:{one.lineno}" for one in statements if not is_export(one)]


def is_export(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        return [ast.unparse(target) for target in statement.targets] == ["__all__"]
    is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_docstring or isinstance(statement, ast.Import | ast.ImportFrom)


def test_packages_only_export() -> None:
    """But for tflq itself, which imports what it exports on first use."""
    packages = [file for file in sorted(PACKAGE.rglob("__init__.py")) if file.parent != PACKAGE]
    assert len(packages) > 15
    assert [place for file in packages for place in definitions(file)] == []
