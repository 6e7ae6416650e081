"""A program written for sherpa-onnx, with the recogniser's construction changed: several recordings at once.

python examples/sherpa_onnx_style.py samples/pin.ogg samples/phone-number.flac
"""

import sys

from voxtral_edge.audio import read_audio
from voxtral_edge.compat.sherpa_onnx import OnlineRecognizer

if len(sys.argv) < 2:
    sys.exit(__doc__)

recognizer = OnlineRecognizer.from_voxtral("tiny-en", enable_endpoint_detection=True)
streams = []
for path in sys.argv[1:]:
    stream = recognizer.create_stream()
    stream.accept_waveform(16_000, read_audio(path))
    stream.input_finished()
    streams.append(stream)

while ready := [stream for stream in streams if recognizer.is_ready(stream)]:
    recognizer.decode_streams(ready)  # one pass over the weights for all of them
for path, stream in zip(sys.argv[1:], streams, strict=True):
    print(f"{path}: {recognizer.get_result(stream)}")
