// Writes valid miniature packages with random weights, so that every path runs without a checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "package/model_config.h"

namespace voxtral_edge::check {

// About 0.14 M parameters. Deliberately awkward: no contraction size is a multiple of 32, query widths differ from
// model widths, windows (20 frames, 24 tokens) are shorter than two seconds of audio, GQA is 4:2, vocabulary 320.
ModelConfig tiny_config();

struct TinyPackageOptions {
  std::string precision = "fp32";                      // of every group: fp32 | fp16 | int8 | int4
  std::map<std::string, std::string> group_precision;  // exceptions by group ("embedding" -> "int8")
  std::uint64_t seed = 1;
  std::string name = "tiny-test";
  // Change freely. Dependent fields (adapter.input_width and output_width, audio.samples_per_token and
  // mel_frames_per_token, tokens.vocab_size) are derived again when the package is written.
  ModelConfig config = tiny_config();
};

// Fills the existing folder `directory` with manifest.json, weights.bin, tekken.json and placeholders for the two
// graphs (the native engine does not read them; of the sha256 fields only that of weights.bin is true). Weights are
// scaled so that activations stay of order one and the argmax varies with the audio; the same options give the same
// bytes.
void write_tiny_package(const std::string& directory, const TinyPackageOptions& options = {});

}  // namespace voxtral_edge::check
