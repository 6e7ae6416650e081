#include "base/file_mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "base/error.h"

namespace voxtral_edge {
namespace {

std::size_t page_bytes() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

FileMapping::FileMapping(int descriptor, std::uint64_t offset, std::size_t bytes) : bytes_(bytes) {
  const std::size_t before = offset % page_bytes();
  void* mapping =
      ::mmap(nullptr, before + bytes, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(offset - before));
  if (mapping == MAP_FAILED) {
    throw Error(
        errno == ENOMEM ? ErrorCode::out_of_memory : ErrorCode::device,
        "cannot map " + std::to_string(bytes >> 20) + " MiB of a file: " + std::generic_category().message(errno));
  }
  page_ = static_cast<const std::uint8_t*>(mapping);
  data_ = page_ + before;
#ifdef MADV_HUGEPAGE
  // File systems with large folios (ext4 since Linux 6.16, XFS, btrfs) then read 2 MiB at a time into 2 MiB pages.
  ::madvise(mapping, before + bytes, MADV_HUGEPAGE);
#endif
}

FileMapping::~FileMapping() {
  ::munmap(const_cast<std::uint8_t*>(page_), static_cast<std::size_t>(data_ - page_) + bytes_);
}

bool FileMapping::populate([[maybe_unused]] std::size_t offset, [[maybe_unused]] std::size_t bytes) const {
#ifdef MADV_POPULATE_READ
  const auto from = static_cast<std::size_t>(data_ - page_) + offset;
  const std::size_t begin = from / page_bytes() * page_bytes();
  void* address = const_cast<std::uint8_t*>(page_) + begin;
  while (::madvise(address, from + bytes - begin, MADV_POPULATE_READ) != 0) {
    if (errno == EINVAL) return true;  // an older kernel
    if (errno != EINTR && errno != EAGAIN) return false;
  }
#endif
  return true;
}

}  // namespace voxtral_edge
