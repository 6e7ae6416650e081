#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "model/packed_cache.h"

namespace voxtral_edge {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::device, path + ": " + what);
}

[[noreturn]] void fail_by_errno(const std::string& path, const std::string& what) {
  const int error = errno;
  fail(path, what + ": " + std::generic_category().message(error));
}

bool same_file(int descriptor, const std::string& path) {
  struct stat opened, named;
  return ::fstat(descriptor, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

// PATH.partial, locked and empty. Whoever held the lock may have renamed or removed the file meanwhile: then what was
// opened is no longer PATH.partial, and emptying it would pull a finished cache from under its readers.
FileDescriptor open_partial(const std::string& partial) {
  for (int attempt = 0; attempt < 8; ++attempt) {
    FileDescriptor file(::open(partial.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (file.get() < 0) fail_by_errno(partial, "cannot be written");
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) fail(partial, "another process is writing it");
      fail_by_errno(partial, "cannot be locked");
    }
    if (!same_file(file.get(), partial)) continue;
    if (::ftruncate(file.get(), 0) != 0) fail_by_errno(partial, "cannot be written");
    // Readers refuse what others may write: an older file may have allowed it. Who may read, the umask says.
    struct stat status;
    if (::fstat(file.get(), &status) != 0 || ::fchmod(file.get(), (status.st_mode & 0644) | 0600) != 0) {
      fail_by_errno(partial, "its permissions cannot be set");
    }
    return file;
  }
  fail(partial, "other processes keep replacing it");
}

void require_free_space(const std::string& path, std::uint64_t bytes) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code unknown;
  const std::filesystem::space_info space = std::filesystem::space(folder, unknown);
  if (!unknown && space.available < bytes) {
    fail(folder.string(), "the cache needs " + std::to_string(bytes >> 20) + " MiB, the disk has " +
                              std::to_string(space.available >> 20) + " MiB free");
  }
}

}  // namespace

PackedCacheWriter::PackedCacheWriter(const std::string& path, const Package& package)
    : path_(path), partial_(path + ".partial") {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) fail(std::filesystem::path(path).parent_path().string(), "cannot be made: " + error.message());
  file_ = open_partial(partial_);
  index_.package = package.identity();
  index_.name = packed_cache_file_name(package);
  index_.name.resize(index_.name.rfind('-'));
  try {
    require_free_space(path, package.weight_bytes());
  } catch (...) {
    ::unlink(partial_.c_str());
    throw;
  }
}

// The lock is held until the descriptor closes, so what is removed is our own file.
PackedCacheWriter::~PackedCacheWriter() {
  if (!finished_) ::unlink(partial_.c_str());
}

void PackedCacheWriter::write(const void* data, std::size_t bytes, std::uint64_t offset) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t wrote =
        ::pwrite(file_.get(), from, std::min(bytes, std::size_t{1} << 30), static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) fail_by_errno(partial_, "cannot be written");
    from += wrote;
    offset += static_cast<std::uint64_t>(wrote);
    bytes -= static_cast<std::size_t>(wrote);
  }
}

PackedMatrix PackedCacheWriter::keep(const std::string& name, const PackedMatrix& matrix) {
  write(matrix.data(), matrix.bytes(), end_);
  index_.matrices.push_back({name, matrix.type(), matrix.rows(), matrix.columns(), end_, matrix.bytes()});
  const auto mapping = std::make_shared<const FileMapping>(file_.get(), end_, matrix.bytes());
#ifdef SYNC_FILE_RANGE_WRITE
  // Starts writing to the disk now: finish() then waits for the rest only. Best effort.
  ::sync_file_range(file_.get(), static_cast<off_t>(end_), static_cast<off_t>(matrix.bytes()), SYNC_FILE_RANGE_WRITE);
#endif
  const std::uint64_t next = end_ + matrix.bytes();
  end_ = (next + kPackedCacheAlignment - 1) / kPackedCacheAlignment * kPackedCacheAlignment;
  return PackedMatrix(matrix.type(), matrix.rows(), matrix.columns(), {mapping, mapping->data()});
}

void PackedCacheWriter::finish(ThreadPool& pool) {
  if (::ftruncate(file_.get(), static_cast<off_t>(end_)) != 0) fail_by_errno(partial_, "cannot be written");
  index_.checksums = packed_cache_checksums(*map_packed_matrices(file_.get(), end_), pool);
  const std::string index = packed_cache_index_text(index_);
  const PackedCachePrefix prefix = packed_cache_prefix(end_, index);
  write(index.data(), index.size(), end_);
  write(&prefix, sizeof prefix, 0);
  if (::fsync(file_.get()) != 0) fail_by_errno(partial_, "cannot be written");
  if (::rename(partial_.c_str(), path_.c_str()) != 0) fail_by_errno(path_, "cannot be replaced");
  finished_ = true;
  // After a power cut the folder may still show the old file or none, never half a one; so failing here is no error.
  const FileDescriptor folder(
      ::open(std::filesystem::path(path_).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) ::fsync(folder.get());
}

}  // namespace voxtral_edge
