// The manifest's "tensors": every entry checked by itself, against its file, against the others and against the model.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "package/model_config.h"
#include "package/package.h"

namespace voxtral_edge {

class JsonValue;

using TensorTable = std::map<std::string, TensorInfo>;
using PrecisionTable = std::map<std::string, std::string>;  // group -> fp32 | fp16 | int8 | int4

// The only file that tensors live in.
inline constexpr const char* kWeightsFile = "weights.bin";

PrecisionTable read_precision(const JsonValue& manifest);

// Entries whose bytes are inside the file, aligned, of the size that shape and type ask for, and apart from each other.
TensorTable read_tensor_table(const JsonValue& manifest, std::uint64_t weights_bytes);

// Exactly the tensors that the model needs are there, with its shapes and precisions, and quantised ones have scales.
void check_tensors_of_model(const JsonValue& manifest, const ModelConfig& config, const PrecisionTable& precision,
                            const TensorTable& tensors);

}  // namespace voxtral_edge
