// Mutated manifests beside real weights: the package opens, and then everything it promises holds, or
// Error(model_format).
#include "fuzz_target.h"
#include "package/expected_tensors.h"
#include "package/package.h"
#include "temporary_folder.h"
#include "tiny_package.h"

using namespace voxtral_edge;

namespace {

check::TinyPackageOptions options() {
  check::TinyPackageOptions options;
  options.precision = "int4";
  options.group_precision = {{"embedding", "int8"}, {"adapter", "fp16"}, {"encoder.ffn", "fp32"}};
  options.config.encoder.layers = options.config.decoder.layers = 1;  // short manifests: more edits per second
  return options;
}

const std::string& package_folder() {
  static const check::TemporaryFolder folder;
  static const bool written = (check::write_tiny_package(folder.path(), options()), true);
  (void)written;
  return folder.path();
}

void check_package(const Package& package) {
  std::uint64_t total = 0;
  std::vector<char> bytes;
  for (const ExpectedTensor& expected : expected_tensors(package.config())) {
    const TensorInfo& tensor = package.tensor(expected.name);
    fuzz::require(tensor.offset % 64 == 0, "aligned");
    bytes.resize(tensor.bytes);
    package.read(tensor, 0, tensor.bytes, bytes.data());
    total += tensor.bytes;
    if (tensor.quantization.bits != 0) {
      const TensorInfo& scales = package.tensor(tensor.quantization.scales);
      fuzz::require(scales.shape.size() == 2 && scales.shape[0] == expected.shape[0], "one scale row per row");
      bytes.resize(scales.bytes);
      package.read(scales, 0, scales.bytes, bytes.data());
      total += scales.bytes;
    }
  }
  fuzz::require(total == package.weight_bytes(), "tensors add up");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check::write_file(package_folder() + "/manifest.json", {reinterpret_cast<const char*>(data), size});
  fuzz::expect_model_format_error([] { check_package(*Package::open(package_folder())); });
  return 0;
}

std::vector<std::string> fuzz::seeds() {
  const check::TemporaryFolder folder;
  check::write_tiny_package(folder.path(), options());
  return {check::read_file(folder / "manifest.json")};
}

std::vector<std::string> fuzz::dictionary() {
  std::vector<std::string> words = json_dictionary();
  words.insert(words.end(), {"\"weights.bin\"", "\"tekken.json\"", "float32", "float16", "uint8", "fp32", "fp16",
                             "int8", "int4", "\"decoder.norm.weight\"", "encoder.norm.weight", ".scales",
                             "\"quantization\": null", "262144", "9223372036854775744", "1099511627776"});
  return words;
}
