// Permuted weights kept in a file, so that later starts map them instead of reading and permuting the package.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/file_mapping.h"
#include "base/thread_pool.h"
#include "kernels/packed_matrix.h"
#include "model/packed_cache_format.h"
#include "package/package.h"

namespace voxtral_edge {

// A complete file, checked and mapped. Matrices stay valid as long as they or this object live.
class PackedCacheReader {
 public:
  // Error(model_format) saying why the file cannot be used: none there, another package's, another version's, damaged,
  // or writable by other users.
  PackedCacheReader(const std::string& path, const Package& package, ThreadPool& pool);

  // Error(model_format) if the file holds no such matrix.
  PackedMatrix matrix(const std::string& name, WeightType type, std::size_t rows, std::size_t columns) const;

 private:
  std::string path_;
  std::shared_ptr<const FileMapping> mapping_;
  std::map<std::string, PackedCacheEntry> entries_;
};

// Writes such a file: matrix by matrix into PATH.partial, which becomes PATH when it is complete and on the disk, so no
// reader ever sees half a file. A lock on PATH.partial lets one process write at a time; a PATH.partial that a crash
// left behind is written over. All functions: Error(device) when the disk is full or refuses.
class PackedCacheWriter {
 public:
  // Makes the folder if need be. Error(device) also when another process is writing the same file.
  PackedCacheWriter(const std::string& path, const Package& package);
  ~PackedCacheWriter();  // removes PATH.partial unless finished
  PackedCacheWriter(const PackedCacheWriter&) = delete;
  PackedCacheWriter& operator=(const PackedCacheWriter&) = delete;

  // Writes a matrix and gives back the same, mapped from the file: memory holds one matrix twice at most.
  PackedMatrix keep(const std::string& name, const PackedMatrix& matrix);
  void finish(ThreadPool& pool);

 private:
  void write(const void* data, std::size_t bytes, std::uint64_t offset);

  std::string path_, partial_;
  FileDescriptor file_;
  PackedCacheIndex index_;
  std::uint64_t end_ = kPackedCacheAlignment;
  bool finished_ = false;
};

}  // namespace voxtral_edge
