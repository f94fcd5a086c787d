"""One file per verb; each parses arguments and calls the function of the same name."""
