"""`tflq cache`."""

from __future__ import annotations

import time

import click

from tflq.cli.boundary import boundary

WHAT = {
    "model": "float models",
    "samples": "descriptions of samples",
    "ranges": "ranges of activations",
    "refined": "models as refined before quantizing",
    "corrected": "dynamic range files with corrected biases",
    "answers": "answers of sources",
}


@click.command("cache")
@click.option("--clear", is_flag=True, help="Remove all of it.")
def show_cache(clear: bool) -> None:
    """Show what is kept between runs, and where.

    Float models, the ranges of their activations and the answers of their sources, each found again by the contents
    of all that it was made from. What was not used for longest makes room when TFLQ_CACHE_GB, by default 5, are full;
    TFLQ_CACHE_DIR is another place for it. `cache: false` in a recipe keeps nothing of it.
    """
    from tflq.cache import default_store
    from tflq.report.table import size

    with boundary():
        store = default_store()
        entries = store.shrink(0) if clear else store.entries()
    total = size(sum(entry.size_bytes for entry in entries))
    click.echo(f"{store.root}: {'removed ' if clear else ''}{total} of at most {size(store.limit_bytes)}")
    others = {entry.kind: f"entries of the kind {entry.kind}" for entry in entries if entry.kind not in WHAT}
    for kind, words in (WHAT | others).items():
        some = [entry for entry in entries if entry.kind == kind]
        if some:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(some[0].last_used))
            click.echo(f"{len(some):6} {words}, {size(sum(entry.size_bytes for entry in some))}, last used {used}")
