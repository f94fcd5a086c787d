"""What a bit costs: the measured time of each kernel at each pair of widths."""
