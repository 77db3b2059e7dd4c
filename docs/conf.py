"""The site, for Sphinx: `make site` builds it from the root of the repository, so that links between pages are those
that a reader of the repository follows. Links to files that are no pages are checked, and shown as plain text.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parent.parent

project = "tflq"
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "benchmarks/*.md"]
exclude_patterns = ["**/build", "**/.*"]
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # what a command prints is no language
html_theme = "furo"
html_title = "tflq"
html_show_sphinx = False
html_use_index = False
html_copy_source = False
html_extra_path = ["site"]


class FilesOfTheRepository(SphinxTransform):
    """Links to files and folders that are no pages: the site does not hold them, so their text stays."""

    default_priority = 5

    def apply(self, **_: object) -> None:
        page = Path(self.env.doc2path(self.env.docname)).parent
        for link in [*self.document.findall(pending_xref), *self.document.findall(download_reference)]:
            target = page / str(link.get("reftarget", "")).partition("#")[0]
            if target.suffix != ".md" and target.exists() and target.resolve().is_relative_to(ROOT):
                link.replace_self(nodes.inline("", "", *link.children))


def setup(app: Sphinx) -> None:
    app.add_transform(FilesOfTheRepository)
