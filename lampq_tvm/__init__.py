"""Mixed-precision Vision Transformers for Jetson and other Arm boards."""

__version__ = "0.1.0"
