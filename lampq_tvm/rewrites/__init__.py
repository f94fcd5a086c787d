"""Rewrites: changes of the float model that keep its meaning, one file each, named by recipes."""
