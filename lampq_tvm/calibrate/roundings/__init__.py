"""How scaled weights become whole numbers, one file a method, named by recipes."""
