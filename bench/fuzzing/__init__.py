"""The parts of `bench/fuzz.py`: mutations, valid files of every kind, and children that read what became of them."""
