"""What the tool promises, tried at length: equal bits, damaged files, company, siege."""
