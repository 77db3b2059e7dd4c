"""Result → JSON, Markdown, the terminal's table; pure functions."""
