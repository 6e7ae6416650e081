// Reading the files of a folder that nobody vouches for: no symbolic links, no pipes, no reads beyond a limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace voxtral_edge {

// An open file or folder; closes on destruction. Move-only.
class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor = -1) : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

struct OpenFile {
  FileDescriptor descriptor;
  std::uint64_t bytes = 0;
  std::string name;  // for messages
};

// Error(model_format) if there is no such folder.
FileDescriptor open_folder(const std::string& path);

// True for a name that stays inside its folder: not empty, no slash, no NUL, neither "." nor "..".
bool is_plain_file_name(const std::string& name);

// Opens a regular file of `folder`. Error(model_format) if it is missing, a symbolic link or not a regular file.
OpenFile open_file(const FileDescriptor& folder, const std::string& name);
// The same by path; only the last component may not be a symbolic link.
OpenFile open_file(const std::string& path);

// The whole file. Error(model_format) if it is larger than `limit` or shrinks meanwhile.
std::string read_whole(const OpenFile& file, std::size_t limit);

// Exactly `bytes` at `offset` by pread. Error(model_format) when the file ends before.
void read_exactly(const OpenFile& file, std::uint64_t offset, std::uint64_t bytes, void* out);

// Asks the system to start reading [offset, offset + bytes); what lies beyond the file's end is ignored.
void read_ahead(const OpenFile& file, std::uint64_t offset, std::uint64_t bytes);

}  // namespace voxtral_edge
