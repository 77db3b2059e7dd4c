"""Targets: whether a file runs on a runtime or an accelerator, and how much memory it needs there."""
