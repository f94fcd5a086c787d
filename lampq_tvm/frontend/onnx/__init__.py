"""ONNX files become exported torch programs."""
