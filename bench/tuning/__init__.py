"""What tuning gains, and that a kill loses nothing."""
