#include "package/package.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/error.h"
#include "base/sha256.h"
#include "package/files.h"
#include "package/json.h"
#include "package/tensor_table.h"

namespace voxtral_edge {

namespace {

constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kTokenizerFile = "tekken.json";
constexpr const char* kFormat = "voxtral-edge-package";
constexpr std::int64_t kFormatVersion = 1;
constexpr const char* kAdvice = "export the package again";

// The 4B model's manifest has about 0.6 MB and 60,000 nodes; these limits keep a hostile one below 64 MB of memory.
constexpr JsonLimits kManifestLimits{std::size_t{8} << 20, 500'000, 16};

void check_format(const JsonValue& manifest) {
  if (manifest.type() != JsonType::object) manifest.fail_expected("an object");
  const JsonValue format = manifest.at("format");
  if (format.as_string() != kFormat) format.fail_expected(std::string("\"") + kFormat + "\"");
  const JsonValue version = manifest.at("format_version");
  const std::int64_t found = version.as_integer(1, INT64_MAX);
  if (found != kFormatVersion) {
    version.fail("version " + std::to_string(found) + ", but this program reads version " +
                 std::to_string(kFormatVersion) +
                 ", so a newer voxtral-edge wrote it: update voxtral-edge, or go on with this one");
  }
}

std::string read_name(const JsonValue& value) {
  const std::string name(value.as_string());
  if (name.empty() || name.size() > 255) value.fail_expected("1 to 255 bytes");
  return name;
}

void check_sha256(const JsonValue& value) {
  const std::string_view text = value.as_string();
  const bool hexadecimal = text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (text.size() != 64 || !hexadecimal) value.fail_expected("64 lower-case hexadecimal digits");
}

// Every listed file is there, regular and of the stated size; returns the weights.
OpenFile check_files(const JsonValue& files, const FileDescriptor& folder) {
  files.at(kTokenizerFile);
  files.at(kWeightsFile);
  OpenFile weights;
  std::uint64_t total = 0;
  if (files.size() > 64) files.fail_expected("at most 64 files");
  for (const auto [key, entry] : files.members()) {
    const std::string name(key);
    if (!is_plain_file_name(name)) files.fail(json_quoted(key) + " is not a plain file name inside the package folder");
    const auto bytes = static_cast<std::uint64_t>(entry.at("bytes").as_integer(0, INT64_MAX));
    check_sha256(entry.at("sha256"));
    if (__builtin_add_overflow(total, bytes, &total)) files.fail("the sum of all sizes does not fit 64 bits");
    OpenFile file = open_file(folder, name);
    if (file.bytes != bytes) {
      throw Error(ErrorCode::model_format, name + ": has " + std::to_string(file.bytes) +
                                               " bytes, but the manifest says " + std::to_string(bytes) +
                                               "; the file is incomplete or from another package, copy or export the "
                                               "package again");
    }
    if (name == kWeightsFile) weights = std::move(file);
  }
  return weights;
}

}  // namespace

struct Package::Impl {
  ModelConfig config{};
  std::string name, directory, tokenizer_path;
  PrecisionTable precision;
  TensorTable tensors;
  std::uint64_t weight_bytes = 0;
  PackageIdentity identity;
  std::string weights_sha256;
  OpenFile weights;  // kept open: what was checked is what is read, even if the folder is replaced meanwhile

  void read(const FileDescriptor& folder, const std::string& folder_path);
};

Package::Package() : impl_(std::make_unique<Impl>()) {}
Package::~Package() = default;

std::unique_ptr<Package> Package::open(const std::string& directory) {
  std::unique_ptr<Package> package(new Package());
  const FileDescriptor folder = open_folder(directory);
  try {
    package->impl_->read(folder, directory);
  } catch (const Error& error) {
    throw Error(error.code(), directory + ": " + error.what());
  }
  return package;
}

void Package::Impl::read(const FileDescriptor& folder, const std::string& folder_path) {
  std::string text = read_whole(open_file(folder, kManifestFile), kManifestLimits.bytes);
  identity.manifest_checksum = checksum(text.data(), text.size());
  const JsonDocument document = JsonDocument::parse(std::move(text), kManifestFile, kAdvice, kManifestLimits);
  const JsonValue manifest = document.root();
  check_format(manifest);
  name = read_name(manifest.at("name"));
  directory = folder_path;
  tokenizer_path = directory + "/" + kTokenizerFile;
  config = read_model_config(manifest);
  precision = read_precision(manifest);
  weights = check_files(manifest.at("files"), folder);
  weights_sha256 = manifest.at("files").at(kWeightsFile).at("sha256").as_string();
  identity.weights_bytes = weights.bytes;
  tensors = read_tensor_table(manifest, weights.bytes);
  check_tensors_of_model(manifest, config, precision, tensors);
  for (const auto& [name, tensor] : tensors) weight_bytes += tensor.bytes;  // cannot wrap: apart, inside one file
}

const ModelConfig& Package::config() const { return impl_->config; }
const std::string& Package::name() const { return impl_->name; }
const std::string& Package::directory() const { return impl_->directory; }
const std::string& Package::tokenizer_path() const { return impl_->tokenizer_path; }
const std::map<std::string, std::string>& Package::precision() const { return impl_->precision; }
std::uint64_t Package::weight_bytes() const { return impl_->weight_bytes; }

const PackageIdentity& Package::identity() const { return impl_->identity; }

bool Package::has_tensor(const std::string& name) const { return impl_->tensors.count(name) != 0; }

const TensorInfo& Package::tensor(const std::string& name) const {
  const auto found = impl_->tensors.find(name);
  if (found == impl_->tensors.end()) {
    throw Error(ErrorCode::model_format, std::string(kManifestFile) + ": tensors: there is no " + json_quoted(name));
  }
  return found->second;
}

void Package::read(const TensorInfo& tensor, std::uint64_t offset_in_tensor, std::uint64_t bytes, void* out) const {
  if (offset_in_tensor > tensor.bytes || bytes > tensor.bytes - offset_in_tensor) {
    throw Error(ErrorCode::internal, "a read of " + std::to_string(bytes) + " bytes at " +
                                         std::to_string(offset_in_tensor) + " goes beyond tensor " +
                                         json_quoted(tensor.name) + " of " + std::to_string(tensor.bytes) + " bytes");
  }
  read_exactly(impl_->weights, tensor.offset + offset_in_tensor, bytes, out);
}

void Package::verify_weights() const {
  std::vector<char> piece(std::size_t{1} << 20);
  Sha256 hash;
  for (std::uint64_t at = 0; at < impl_->weights.bytes; at += piece.size()) {
    const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), impl_->weights.bytes - at));
    read_exactly(impl_->weights, at, bytes, piece.data());
    hash.add(piece.data(), bytes);
  }
  if (hash.finish() == impl_->weights_sha256) return;
  throw Error(ErrorCode::model_format, impl_->directory + "/" + kWeightsFile +
                                           ": its bytes are not those that the manifest's SHA-256 stands for; the file "
                                           "is damaged, copy or export the package again");
}

void Package::read_ahead(const TensorInfo& tensor, std::uint64_t offset_in_tensor, std::uint64_t bytes) const {
  voxtral_edge::read_ahead(impl_->weights, tensor.offset + offset_in_tensor, bytes);
}

}  // namespace voxtral_edge
