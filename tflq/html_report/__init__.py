"""report.html: the page of one run, as one file without scripts."""
