#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "base/error.h"
#include "model/packed_cache.h"

namespace voxtral_edge {
namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::model_format, path + ": " + what);
}

// What is mapped becomes the model: nobody but this user and root may have written it, or shorten it now.
void require_trusted(const OpenFile& file) {
  struct stat status;
  if (::fstat(file.descriptor.get(), &status) != 0) refuse(file.name, "cannot be examined");
  if (status.st_uid != ::geteuid() && status.st_uid != 0) refuse(file.name, "belongs to another user");
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) refuse(file.name, "other users may write it");
}

}  // namespace

PackedCacheReader::PackedCacheReader(const std::string& path, const Package& package, ThreadPool& pool) : path_(path) {
  const OpenFile file = open_file(path);
  require_trusted(file);
  PackedCacheIndex index = read_packed_cache_index(file);
  if (index.package != package.identity()) refuse(path, "made from another package");
  mapping_ = map_packed_matrices(file.descriptor.get(), index.end);
  if (packed_cache_checksums(*mapping_, pool) != index.checksums) refuse(path, "its weights are damaged");
  for (PackedCacheEntry& entry : index.matrices) entries_[entry.name] = std::move(entry);
}

PackedMatrix PackedCacheReader::matrix(const std::string& name, WeightType type, std::size_t rows,
                                       std::size_t columns) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) refuse(path_, "holds no matrix " + name);
  const PackedCacheEntry& entry = found->second;
  if (entry.type != type || entry.rows != rows || entry.columns != columns ||
      entry.bytes != PackedMatrix::bytes_of(type, rows, columns)) {
    refuse(path_, "holds another matrix " + name);
  }
  return PackedMatrix(type, rows, columns, {mapping_, mapping_->data() + (entry.offset - kPackedCacheAlignment)});
}

}  // namespace voxtral_edge
