"""Metrics of what a bit is worth, one file each, named by recipes."""
