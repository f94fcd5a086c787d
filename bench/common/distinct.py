"""The recipes that ship, each that comes to another artifact than the others."""

from __future__ import annotations

from lampq_tvm.recipes.find import find_recipe, shipped


def sharing() -> dict[str, list[str]]:
    """Recipes whose artifacts differ, by name, each with the others that come to the same."""
    found: dict[str, list[str]] = {}
    known: list[tuple[str, object]] = []
    for name in shipped():
        meaning = find_recipe(name).model_dump(exclude={"description"})
        first = next((other for other, same in known if same == meaning), None)
        if first is None:
            known.append((name, meaning))
        found.setdefault(first or name, []).extend([name] if first else [])
    return found
