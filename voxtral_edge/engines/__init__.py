"""Engines other than the native one. Importing this loads neither onnxruntime nor the compiled module."""
