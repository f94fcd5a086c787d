"""How fast compiled models are, here and on emulated boards."""
