#include "model/packed_cache_format.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstring>

#include "base/checksum.h"
#include "base/error.h"
#include "package/json.h"

namespace voxtral_edge {
namespace {

constexpr char kMagic[8] = {'V', 'X', 'E', 'P', 'A', 'C', 'K', '\n'};
constexpr std::uint32_t kFormatVersion = 2;
constexpr JsonLimits kIndexLimits{std::size_t{8} << 20, 500'000, 8};
constexpr std::array<const char*, 4> kTypeNames = {"f32", "f16", "q8", "q4"};  // in the order of WeightType

[[noreturn]] void refuse(const OpenFile& file, const std::string& what) {
  throw Error(ErrorCode::model_format, file.name + ": " + what);
}

std::string hexadecimal(std::uint64_t value) {
  std::string text(16, '0');
  for (std::size_t i = 0; i < 16; ++i) text[15 - i] = "0123456789abcdef"[value >> (4 * i) & 15];
  return text;
}

std::uint64_t from_hexadecimal(const JsonValue& value) {
  const std::string_view text = value.as_string();
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  if (text.size() != 16 || error != std::errc() || end != text.data() + text.size()) {
    value.fail_expected("16 hexadecimal digits");
  }
  return number;
}

PackedCachePrefix read_prefix(const OpenFile& file) {
  PackedCachePrefix prefix;
  if (file.bytes < kPackedCacheAlignment) refuse(file, "too short for a cache of permuted weights");
  read_exactly(file, 0, sizeof prefix, &prefix);
  if (std::memcmp(prefix.magic, kMagic, sizeof kMagic) != 0) refuse(file, "not a cache of permuted weights");
  if (prefix.prefix_checksum != checksum(&prefix, sizeof prefix - sizeof prefix.prefix_checksum)) {
    refuse(file, "its first bytes are damaged");
  }
  if (prefix.format_version != kFormatVersion || prefix.layout_version != kPackedLayoutVersion) {
    refuse(file, "written by another version");
  }
  if (prefix.file_bytes != file.bytes || prefix.index_offset > file.bytes ||
      prefix.index_offset <= kPackedCacheAlignment || prefix.index_bytes != file.bytes - prefix.index_offset ||
      prefix.index_offset % kPackedCacheAlignment != 0) {
    refuse(file, "has " + std::to_string(file.bytes) + " bytes instead of " + std::to_string(prefix.file_bytes));
  }
  return prefix;
}

PackedCacheEntry read_entry(const JsonValue& value, std::uint64_t end) {
  const auto number = [&](const char* key) {
    return static_cast<std::uint64_t>(value.at(key).as_integer(0, std::int64_t{1} << 48));
  };
  PackedCacheEntry entry;
  entry.name = value.at("name").as_string();
  const auto type = std::find(kTypeNames.begin(), kTypeNames.end(), value.at("type").as_string());
  if (type == kTypeNames.end()) value.at("type").fail_expected("f32, f16, q8 or q4");
  entry.type = static_cast<WeightType>(type - kTypeNames.begin());
  entry.rows = number("rows"), entry.columns = number("columns");
  entry.offset = number("offset"), entry.bytes = number("bytes");
  if (entry.offset < kPackedCacheAlignment || entry.offset % kPackedCacheAlignment != 0 || entry.offset > end ||
      entry.bytes > end - entry.offset) {
    value.fail("lies outside the file");
  }
  return entry;
}

}  // namespace

std::string packed_cache_file_name(const Package& package) {
  std::string name = package.name().substr(0, 64);
  for (char& c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    if (!plain) c = '_';
  }
  return name + "-" + hexadecimal(package.identity().manifest_checksum) + ".packed";
}

PackedCachePrefix packed_cache_prefix(std::uint64_t index_offset, const std::string& index) {
  PackedCachePrefix prefix{};
  std::memcpy(prefix.magic, kMagic, sizeof kMagic);
  prefix.format_version = kFormatVersion;
  prefix.layout_version = kPackedLayoutVersion;
  prefix.file_bytes = index_offset + index.size();
  prefix.index_offset = index_offset;
  prefix.index_bytes = index.size();
  prefix.index_checksum = checksum(index.data(), index.size());
  prefix.prefix_checksum = checksum(&prefix, sizeof prefix - sizeof prefix.prefix_checksum);
  return prefix;
}

std::string packed_cache_index_text(const PackedCacheIndex& index) {
  const PackageIdentity& package = index.package;
  std::string text = "{\"package\": {\"name\": \"" + index.name + "\", \"manifest_checksum\": \"" +
                     hexadecimal(package.manifest_checksum) +
                     "\", \"weights_bytes\": " + std::to_string(package.weights_bytes) +
                     "},\n\"piece_bytes\": " + std::to_string(kPackedCachePieceBytes) + ", \"matrices\": [";
  for (const PackedCacheEntry& m : index.matrices) {
    text += (&m == index.matrices.data() ? "\n" : ",\n");
    text += "{\"name\": \"" + m.name + "\", \"type\": \"" + kTypeNames[static_cast<std::size_t>(m.type)] +
            "\", \"rows\": " + std::to_string(m.rows) + ", \"columns\": " + std::to_string(m.columns) +
            ", \"offset\": " + std::to_string(m.offset) + ", \"bytes\": " + std::to_string(m.bytes) + "}";
  }
  text += "],\n\"checksums\": [";
  for (std::size_t i = 0; i < index.checksums.size(); ++i) {
    text += (i == 0 ? "\"" : ", \"") + hexadecimal(index.checksums[i]) + "\"";
  }
  return text + "]}\n";
}

PackedCacheIndex read_packed_cache_index(const OpenFile& file) {
  const PackedCachePrefix prefix = read_prefix(file);
  if (prefix.index_bytes > kIndexLimits.bytes) refuse(file, "its index is too large");
  std::string text(static_cast<std::size_t>(prefix.index_bytes), '\0');
  read_exactly(file, prefix.index_offset, prefix.index_bytes, text.data());
  if (checksum(text.data(), text.size()) != prefix.index_checksum) refuse(file, "its index is damaged");
  const JsonDocument document = JsonDocument::parse(std::move(text), file.name, "remove the file", kIndexLimits);
  const JsonValue root = document.root(), package = root.at("package");
  PackedCacheIndex index;
  index.end = prefix.index_offset;
  index.name = package.at("name").as_string();
  index.package.manifest_checksum = from_hexadecimal(package.at("manifest_checksum"));
  index.package.weights_bytes = static_cast<std::uint64_t>(package.at("weights_bytes").as_integer(0, INT64_MAX));
  root.at("piece_bytes").as_integer(kPackedCachePieceBytes, kPackedCachePieceBytes);
  for (const JsonValue entry : root.at("matrices").elements()) {
    index.matrices.push_back(read_entry(entry, prefix.index_offset));
  }
  for (const JsonValue sum : root.at("checksums").elements()) index.checksums.push_back(from_hexadecimal(sum));
  return index;
}

std::shared_ptr<const FileMapping> map_packed_matrices(int descriptor, std::uint64_t end) {
  return std::make_shared<const FileMapping>(descriptor, kPackedCacheAlignment,
                                             static_cast<std::size_t>(end - kPackedCacheAlignment));
}

std::vector<std::uint64_t> packed_cache_checksums(const FileMapping& mapping, ThreadPool& pool) {
  std::vector<std::uint64_t> sums((mapping.bytes() + kPackedCachePieceBytes - 1) / kPackedCachePieceBytes);
  std::atomic<std::size_t> next{0};
  std::atomic<bool> readable{true};
  pool.run([&](std::size_t) {
    for (std::size_t piece = next++; piece < sums.size() && readable; piece = next++) {
      const std::size_t offset = piece * kPackedCachePieceBytes;
      const std::size_t bytes = std::min(kPackedCachePieceBytes, mapping.bytes() - offset);
      if (mapping.populate(offset, bytes)) sums[piece] = checksum(mapping.data() + offset, bytes);
      else readable = false;
    }
  });
  if (!readable) throw Error(ErrorCode::device, "the disk cannot be read");
  return sums;
}

}  // namespace voxtral_edge
