"""What a GPU has to show, built without one."""
