"""What integer widths cost in accuracy."""
