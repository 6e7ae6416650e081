"""Thin shims for programs written for other recognisers: `voxtral_edge.compat.sherpa_onnx` and
`voxtral_edge.compat.vosk`. They have the calls that streaming programs use; what the model cannot do is
refused."""
