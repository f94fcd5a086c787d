"""What benches share: nothing here is a bench."""
