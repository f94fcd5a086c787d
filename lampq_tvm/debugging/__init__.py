"""Where an artifact's accuracy goes: its own values and its layers beside the float model's."""
