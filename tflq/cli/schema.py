"""`tflq schema`."""

from __future__ import annotations

import click


@click.command()
@click.argument("kind", type=click.Choice(["recipe", "zoo"]), default="recipe")
def schema(kind: str) -> None:
    """Print the JSON Schema of a recipe or of a zoo, for editors."""
    from tflq import recipe
    from tflq.batch import schema as zoo

    click.echo(recipe.json_schema() if kind == "recipe" else zoo.json_schema(), nl=False)
