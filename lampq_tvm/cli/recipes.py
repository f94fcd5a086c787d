"""`lampq recipes`: the methods that come with the package."""

from __future__ import annotations

from lampq_tvm.cli.command import command
from lampq_tvm.cli.options import Form


@command
def recipes(form: Form) -> None:
    """List the recipes, the files that `--recipe` takes by name."""
    from lampq_tvm.api.methods import recipes as list_recipes
    from lampq_tvm.cli.output import print_json, print_table

    rows = list_recipes()
    if form.json:
        print_json({"recipes": rows})
    else:
        print_table(("recipe", "description"), [(row["name"], row["description"]) for row in rows])
