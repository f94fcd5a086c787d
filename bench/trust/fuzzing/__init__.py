"""The parts of `bench/trust/fuzz.py`: mutations, valid files of every kind, and children that read what became of them."""
