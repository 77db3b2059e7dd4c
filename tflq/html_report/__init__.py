"""report.html: the page of one run, as one file without scripts."""

from tflq.html_report.page import to_html

__all__ = ["to_html"]
