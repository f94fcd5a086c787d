"""How long the tool itself takes."""
