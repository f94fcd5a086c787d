"""How scaled weights become whole numbers, one file a method, named by recipes.

Which there are is asked before any work: a file imports torch where it rounds.
"""
