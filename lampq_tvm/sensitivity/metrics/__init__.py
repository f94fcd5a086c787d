"""Metrics of what a bit is worth, one file each, named by recipes.

Which there are is asked before any work: a file imports torch, and what needs it, where it measures.
"""
