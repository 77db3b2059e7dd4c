"""Reports: pure functions that turn a result into JSON, Markdown or the tables of a terminal."""
