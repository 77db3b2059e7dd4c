"""`tflq cache`."""

from __future__ import annotations

import time

import click

from tflq.cli.boundary import boundary

DESCRIPTIONS = {
    "model": "float models",
    "samples": "descriptions of samples",
    "ranges": "ranges of activations",
    "refined": "corrected float models",
    "corrected": "dynamic range files with corrected biases",
    "answers": "outputs of sources",
}
"""The kind of a cache entry → its description for people."""


@click.command("cache")
@click.option("--clear", is_flag=True, help="Remove all entries.")
def show_cache(clear: bool) -> None:
    """Show the cache: its folder, its size and its entries.

    The cache holds float models, the ranges of their activations and the outputs of their sources. The key of an entry
    is the content of everything that the entry was computed from.

    The environment variable TFLQ_CACHE_GB limits the size; the default is 5. If the cache is full, the entries that
    were unused for the longest time are removed. TFLQ_CACHE_DIR names another folder. `cache: false` in a recipe
    turns the cache off.
    """
    from tflq.cache import default_store
    from tflq.report.table import size

    with boundary():
        store = default_store()
        entries = store.shrink(0) if clear else store.entries()
    total = size(sum(entry.size_bytes for entry in entries))
    click.echo(f"{store.root}: {'removed ' if clear else ''}{total} of at most {size(store.limit_bytes)}")
    others = {entry.kind: f"entries of the kind {entry.kind}" for entry in entries if entry.kind not in DESCRIPTIONS}
    for kind, description in (DESCRIPTIONS | others).items():
        group = [entry for entry in entries if entry.kind == kind]
        if group:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(group[0].last_used))
            bytes_text = size(sum(entry.size_bytes for entry in group))
            click.echo(f"{len(group):6} {description}, {bytes_text}, last used {used}")
