"""A lowered module becomes one artifact file for a target."""
