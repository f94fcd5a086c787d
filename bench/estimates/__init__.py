"""How far estimates lie from other models of a core, and sums from the whole."""
