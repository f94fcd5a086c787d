"""Rewrites of an exported program before it is recognized: one a file."""
