"""Recipes: methods as data, one TOML file each; what every stage does with a model, apart from how many bits it may take."""

DEFAULT = "default"
