"""What the compiler takes: timm's transformers one by one, and files in the forms that people have."""
