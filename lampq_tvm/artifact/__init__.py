"""The `.lampq` file: its container, what it says of itself, and how each part is judged before use."""
