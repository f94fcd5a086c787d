"""How the shipped model and sample were made."""
