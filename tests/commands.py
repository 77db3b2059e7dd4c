"""The command `tflq` on the PATH of a shell, as an installation puts it there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROGRAM = """\
#!{python}
import sys
sys.path[:0] = {path}
from tflq.cli import main
if __name__ == "__main__":
    main(prog_name="tflq")
"""


def environment_with_tflq(folder: Path) -> dict[str, str]:
    """This process's environment, with the folder as HOME and a PATH that begins with the command `tflq`."""
    command = folder / "bin/tflq"
    command.parent.mkdir()
    command.write_text(PROGRAM.format(python=sys.executable, path=[path for path in sys.path if path]))
    command.chmod(0o755)
    return os.environ | {"PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
