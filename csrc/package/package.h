// An opened package: checked manifest, tensor table and bounded reads of tensor bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "package/model_config.h"

namespace voxtral_edge {

enum class TensorType { f32, f16, u8 };

struct Quantization {
  unsigned bits = 0;                  // 0: not quantised; else 4 or 8
  std::size_t rows = 0, columns = 0;  // logical [N, K]
  std::string scales;                 // name of the fp16 [N, ceil(K/32)] tensor
};

struct TensorInfo {
  std::string name;
  std::uint64_t offset = 0, bytes = 0;
  TensorType type = TensorType::f32;
  std::vector<std::size_t> shape;
  Quantization quantization;
};

// What tells one package from another without reading the weights. No file times: they change with every copy and
// installation. Whoever keeps something made from the weights calls Package::verify_weights before.
struct PackageIdentity {
  std::uint64_t manifest_checksum = 0;  // of manifest.json, which has the SHA-256 of weights.bin
  std::uint64_t weights_bytes = 0;
  bool operator==(const PackageIdentity&) const = default;
};

class Package {
 public:
  // Opens a package folder. Error(model_format) naming file and field for anything missing, inconsistent, hostile
  // (paths outside the folder, symlinks, overflowing or overlapping ranges) or of another format version.
  static std::unique_ptr<Package> open(const std::string& directory);
  ~Package();

  const ModelConfig& config() const;
  const std::string& name() const;
  const std::string& directory() const;
  const std::string& tokenizer_path() const;
  bool has_tensor(const std::string& name) const;
  const TensorInfo& tensor(const std::string& name) const;      // Error(model_format) if absent
  const std::map<std::string, std::string>& precision() const;  // group -> fp32 | fp16 | int8 | int4
  std::uint64_t weight_bytes() const;
  const PackageIdentity& identity() const;

  // Reads exactly `bytes` at `offset_in_tensor` with pread (a file that shrinks gives an error, not SIGBUS).
  // Thread-safe. Error(model_format) on a short read.
  void read(const TensorInfo& tensor, std::uint64_t offset_in_tensor, std::uint64_t bytes, void* out) const;

  // Error(model_format) unless weights.bin has the SHA-256 of the manifest. Reads all of it, on this thread.
  void verify_weights() const;

  // Asks the system to start reading bytes that will be read soon; they may lie beyond the tensor's end.
  void read_ahead(const TensorInfo& tensor, std::uint64_t offset_in_tensor, std::uint64_t bytes) const;

 private:
  Package();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace voxtral_edge
