// A read-only view of a part of a file in memory, shared with every process that maps it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace voxtral_edge {

// Unmaps on destruction. Whoever shortens the file ends this process with SIGBUS at the next access: map only files
// that are replaced by renaming, never written in place.
class FileMapping {
 public:
  // [offset, offset + bytes) of an open file; bytes > 0, inside the file; any offset, though the system maps whole
  // pages only (4, 16 or 64 KiB, as its kernel was built). Error(device).
  FileMapping(int descriptor, std::uint64_t offset, std::size_t bytes);
  ~FileMapping();
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;

  const std::uint8_t* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

  // Brings a range into memory and reports a disk that cannot be read as `false`, where a plain access would raise
  // SIGBUS. True without doing anything on systems that have no such call (Linux before 5.14).
  bool populate(std::size_t offset, std::size_t bytes) const;

 private:
  const std::uint8_t* page_ = nullptr;  // where the system's mapping begins: less than a page before data_
  const std::uint8_t* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace voxtral_edge
