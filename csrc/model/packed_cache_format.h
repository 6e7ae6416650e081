// The file of permuted weights: what it holds and how it is recognised.
//
//   bytes 0..63      PackedCachePrefix
//   from 4096        the matrices (kernels/packed_matrix.h), each at a multiple of 4096 bytes
//   index_offset     JSON: the package it was made from, the matrices, checksums of the matrices' bytes by pieces of
//                    4 MiB; to the end of the file
//
// Little-endian; the layout of the matrices is the same for all instruction sets, so the file is, too. It is a cache:
// whatever is not exactly as expected is not read but made again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/file_mapping.h"
#include "base/thread_pool.h"
#include "kernels/packed_matrix.h"
#include "package/files.h"
#include "package/package.h"

namespace voxtral_edge {

struct PackedCachePrefix {
  char magic[8];
  std::uint32_t format_version, layout_version;
  std::uint64_t file_bytes;
  std::uint64_t index_offset, index_bytes, index_checksum;
  std::uint64_t reserved;         // 0
  std::uint64_t prefix_checksum;  // of the bytes before
};
static_assert(sizeof(PackedCachePrefix) == 64);

inline constexpr std::uint64_t kPackedCacheAlignment = 4096;
inline constexpr std::size_t kPackedCachePieceBytes = std::size_t{4} << 20;

struct PackedCacheEntry {
  std::string name;  // names of the tensors, one below the other, joined by " "
  WeightType type = WeightType::f32;
  std::size_t rows = 0, columns = 0;
  std::uint64_t offset = 0, bytes = 0;
};

struct PackedCacheIndex {
  PackageIdentity package;
  std::string name;  // of the package, for people
  std::vector<PackedCacheEntry> matrices;
  std::vector<std::uint64_t> checksums;
  std::uint64_t end = kPackedCacheAlignment;  // of the matrices: where the index begins
};

// NAME-0123456789abcdef.packed: the digits are the manifest's checksum, so packages do not share a file.
std::string packed_cache_file_name(const Package& package);

PackedCachePrefix packed_cache_prefix(std::uint64_t index_offset, const std::string& index);
std::shared_ptr<const FileMapping> map_packed_matrices(int descriptor, std::uint64_t end);
std::string packed_cache_index_text(const PackedCacheIndex& index);

// Reads and checks everything but the matrices' bytes. Error(model_format) saying what is wrong.
PackedCacheIndex read_packed_cache_index(const OpenFile& file);

// Checksums of `mapping` by pieces, in parallel, each piece populated first. Error(device) if the disk cannot be read.
std::vector<std::uint64_t> packed_cache_checksums(const FileMapping& mapping, ThreadPool& pool);

}  // namespace voxtral_edge
