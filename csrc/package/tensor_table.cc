#include "package/tensor_table.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "package/expected_tensors.h"
#include "package/json.h"

namespace voxtral_edge {

namespace {

constexpr std::uint64_t kAlignment = 64;       // of every tensor in weights.bin
constexpr std::size_t kBlock = 32;             // columns that share a scale
constexpr std::size_t kMostTensors = 100'000;  // the 4B model has about 1,400
constexpr std::int64_t kMostDimension = std::int64_t{1} << 40;

std::string shape_text(const std::vector<std::size_t>& shape) {
  std::string out = "[";
  for (const std::size_t size : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(size);
  return out + "]";
}

TensorType read_type(const JsonValue& value) {
  const std::string_view name = value.as_string();
  if (name == "float32") return TensorType::f32;
  if (name == "float16") return TensorType::f16;
  if (name == "uint8") return TensorType::u8;
  value.fail_expected("float32, float16 or uint8");
}

std::uint64_t type_bytes(TensorType type) { return type == TensorType::f32 ? 4 : type == TensorType::f16 ? 2 : 1; }

std::vector<std::size_t> read_shape(const JsonValue& value) {
  std::vector<std::size_t> shape;
  for (const JsonValue size : value.elements()) {
    if (shape.size() == 4) value.fail_expected("at most four dimensions");
    shape.push_back(static_cast<std::size_t>(size.as_integer(1, kMostDimension)));
  }
  if (shape.empty()) value.fail_expected("at least one dimension");
  return shape;
}

std::uint64_t checked_bytes(const JsonValue& shape_value, const std::vector<std::size_t>& shape, TensorType type) {
  std::uint64_t bytes = type_bytes(type);
  for (const std::size_t size : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) {
      shape_value.fail("the sizes' product " + shape_text(shape) + " does not fit 64 bits");
    }
  }
  return bytes;
}

// What the bytes mean: [N, ceil(K/32), 32 or 16] codes, low nibble first, zero point 128 or 8 (MatMulNBits).
Quantization read_quantization(const JsonValue& value, const JsonValue& entry, const TensorInfo& tensor) {
  Quantization quantization;
  const std::int64_t bits = value.at("bits").as_integer(4, 8);
  if (bits != 4 && bits != 8) value.at("bits").fail_expected("4 or 8");
  quantization.bits = static_cast<unsigned>(bits);
  value.at("block").as_integer(kBlock, kBlock);
  if (value.at("scheme").as_string() != "symmetric") value.at("scheme").fail_expected("\"symmetric\"");
  if (value.at("layout").as_string() != "matmul_nbits") value.at("layout").fail_expected("\"matmul_nbits\"");
  const std::int64_t zero_point = bits == 4 ? 8 : 128;
  value.at("zero_point").as_integer(zero_point, zero_point);
  quantization.rows = static_cast<std::size_t>(value.at("rows").as_integer(1, kMostDimension));
  quantization.columns = static_cast<std::size_t>(value.at("columns").as_integer(1, kMostDimension));
  quantization.scales = std::string(value.at("scales").as_string());
  const std::size_t blocks = (quantization.columns + kBlock - 1) / kBlock;
  const std::vector<std::size_t> expected = {quantization.rows, blocks, kBlock * quantization.bits / 8};
  if (tensor.type != TensorType::u8) entry.at("dtype").fail_expected("uint8 for a quantised tensor");
  if (tensor.shape != expected) {
    entry.at("shape").fail("expected " + shape_text(expected) + " for " + std::to_string(bits) +
                           "-bit rows and columns, found " + shape_text(tensor.shape));
  }
  return quantization;
}

TensorInfo read_tensor(std::string_view name, const JsonValue& entry, std::uint64_t weights_bytes) {
  TensorInfo tensor;
  tensor.name = std::string(name);
  if (entry.at("file").as_string() != kWeightsFile) {
    entry.at("file").fail_expected(std::string("\"") + kWeightsFile + "\", the one file that holds tensors");
  }
  tensor.type = read_type(entry.at("dtype"));
  tensor.shape = read_shape(entry.at("shape"));
  tensor.offset = static_cast<std::uint64_t>(entry.at("offset").as_integer(0, INT64_MAX));
  tensor.bytes = static_cast<std::uint64_t>(entry.at("bytes").as_integer(1, INT64_MAX));
  if (tensor.offset % kAlignment != 0) entry.at("offset").fail_expected("a multiple of 64");
  const std::uint64_t expected = checked_bytes(entry.at("shape"), tensor.shape, tensor.type);
  if (tensor.bytes != expected) {
    entry.at("bytes").fail_expected(std::to_string(expected) + " for shape " + shape_text(tensor.shape));
  }
  // Both are below 2^63, so the sum cannot wrap.
  if (tensor.offset + tensor.bytes > weights_bytes) {
    entry.fail("ends at byte " + std::to_string(tensor.offset + tensor.bytes) + ", but " + kWeightsFile + " has only " +
               std::to_string(weights_bytes));
  }
  const std::optional<JsonValue> quantization = entry.find("quantization");
  if (quantization && !quantization->is_null()) {
    tensor.quantization = read_quantization(*quantization, entry, tensor);
  } else if (tensor.type == TensorType::u8) {
    entry.fail("uint8 without \"quantization\"");
  }
  return tensor;
}

void refuse_overlaps(const JsonValue& tensors, const TensorTable& table) {
  std::vector<const TensorInfo*> by_offset;
  by_offset.reserve(table.size());
  for (const auto& [name, tensor] : table) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    const TensorInfo& before = *by_offset[i - 1];
    if (before.offset + before.bytes > by_offset[i]->offset) {
      tensors.fail(json_quoted(before.name) + " and " + json_quoted(by_offset[i]->name) + " overlap at byte " +
                   std::to_string(by_offset[i]->offset));
    }
  }
}

struct Format {
  TensorType type;
  unsigned bits;
};

Format format_of(const std::string& precision) {
  if (precision == "int4") return {TensorType::u8, 4};
  if (precision == "int8") return {TensorType::u8, 8};
  return {precision == "fp16" ? TensorType::f16 : TensorType::f32, 0};
}

const TensorInfo& require(const JsonValue& tensors, const TensorTable& table, const std::string& name) {
  const auto found = table.find(name);
  if (found == table.end()) {
    tensors.fail("missing " + json_quoted(name) + ", which a model of this configuration needs");
  }
  return found->second;
}

void check_scales(const JsonValue& tensors, const TensorTable& table, const TensorInfo& matrix) {
  const TensorInfo& scales = require(tensors, table, matrix.quantization.scales);
  const std::vector<std::size_t> expected = {matrix.shape[0], matrix.shape[1]};
  if (scales.type != TensorType::f16 || scales.shape != expected) {
    tensors.at(scales.name)
        .fail("expected float16 " + shape_text(expected) + ", the scales of " + json_quoted(matrix.name) +
              ", found shape " + shape_text(scales.shape));
  }
}

void check_tensor(const JsonValue& tensors, const TensorTable& table, const ExpectedTensor& expected,
                  const std::string& precision) {
  const TensorInfo& tensor = require(tensors, table, expected.name);
  const Format format = format_of(precision);
  const Quantization& quantization = tensor.quantization;
  if (tensor.type != format.type || quantization.bits != format.bits) {
    tensors.at(tensor.name).fail("stored in another precision than " + precision + ", which its group has");
  }
  const std::vector<std::size_t> shape =
      format.bits == 0 ? tensor.shape : std::vector<std::size_t>{quantization.rows, quantization.columns};
  if (shape != expected.shape) {
    tensors.at(tensor.name)
        .fail("expected shape " + shape_text(expected.shape) + " from the configuration, found " + shape_text(shape));
  }
  if (format.bits != 0) check_scales(tensors, table, tensor);
}

}  // namespace

PrecisionTable read_precision(const JsonValue& manifest) {
  const JsonValue precision = manifest.at("precision");
  PrecisionTable table;
  for (const std::string& group : precision_groups()) {
    const JsonValue value = precision.at(group);
    const std::string name(value.as_string());
    if (name != "fp32" && name != "fp16" && name != "int8" && name != "int4") {
      value.fail_expected("fp32, fp16, int8 or int4");
    }
    table.emplace(group, name);
  }
  return table;
}

TensorTable read_tensor_table(const JsonValue& manifest, std::uint64_t weights_bytes) {
  const JsonValue tensors = manifest.at("tensors");
  if (tensors.type() == JsonType::object && tensors.size() > kMostTensors) {
    tensors.fail_expected("at most " + std::to_string(kMostTensors) + " tensors");
  }
  TensorTable table;
  for (const auto [name, entry] : tensors.members()) {
    if (name.empty() || name.size() > 255) {
      tensors.fail("a tensor's name must have 1 to 255 bytes, found " + json_quoted(name));
    }
    TensorInfo tensor = read_tensor(name, entry, weights_bytes);
    table.emplace(tensor.name, std::move(tensor));
  }
  refuse_overlaps(tensors, table);
  return table;
}

void check_tensors_of_model(const JsonValue& manifest, const ModelConfig& config, const PrecisionTable& precision,
                            const TensorTable& table) {
  const JsonValue tensors = manifest.at("tensors");
  std::set<std::string_view> known;
  for (const ExpectedTensor& expected : expected_tensors(config)) {
    check_tensor(tensors, table, expected, expected.group == nullptr ? "fp32" : precision.at(expected.group));
    const TensorInfo& tensor = table.at(expected.name);
    known.insert(tensor.name);
    if (tensor.quantization.bits != 0 && !known.insert(tensor.quantization.scales).second) {
      tensors.at(tensor.name).fail("its scales " + json_quoted(tensor.quantization.scales) + " are used twice");
    }
  }
  // A tensor too many means that the configuration is not the one the weights were made for (a layer cut off, say).
  for (const auto& [name, tensor] : table) {
    if (known.count(name) == 0) {
      tensors.at(name).fail("not a tensor of a model with this configuration");
    }
  }
}

}  // namespace voxtral_edge
