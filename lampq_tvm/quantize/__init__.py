"""A plan and a calibration become the integer network and its torch reference."""
