"""`tflq targets`: the targets that tflq knows."""

from __future__ import annotations

import json

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, say
from tflq.cli.options import CommandOptions, pass_options


@click.command()
@option.json
@pass_options
def targets(options: CommandOptions) -> None:
    """List the targets for `tflq lint` and recipes.

    A target is a table of ops with conditions, its source and its date. A target of your own is a YAML file with the
    same keys.
    """
    from tflq.report.targets import described
    from tflq.targets.shipped import shipped

    with boundary(options.as_json):
        known = [described(target) for target in shipped()]
    if options.as_json:
        click.echo(json.dumps(known, indent=2, ensure_ascii=False))
        return
    for target in known:
        say(f"{target['name']}: {target['title']}")
        if target["also"]:
            say(f"    also {', '.join(target['also'])}")
        say(f"    {target['ops'] or 'all built-in'} ops; {target['source']}; {target['date']}")
