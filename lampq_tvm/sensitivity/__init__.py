"""What a bit is worth: the loss of each layer at each pair of widths."""
