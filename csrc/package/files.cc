#include "package/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace voxtral_edge {

namespace {

// One pread moves at most 2^31 - 4096 bytes on Linux; stay below on every system.
constexpr std::uint64_t kMostBytesPerRead = std::uint64_t{1} << 30;

std::string reason(int error) { return std::generic_category().message(error); }

// Something is there, or may be, but the system refused it.
[[noreturn]] void throw_refused(const std::string& name, int error, const std::string& advice) {
  const bool limit = error == EMFILE || error == ENFILE;
  throw Error(limit ? ErrorCode::device : ErrorCode::model_format,
              name + ": cannot be opened: " + reason(error) + "; " +
                  (limit ? "close some, or raise the limit (ulimit -n)" : advice));
}

// The system would silently open what stands before the zero byte.
void refuse_zero_bytes(const std::string& path) {
  if (path.find('\0') != std::string::npos) throw Error(ErrorCode::model_format, "a path with a zero byte is refused");
}

OpenFile open_at(int folder, const std::string& path, const std::string& name) {
  // O_NONBLOCK: opening a pipe must not wait for a writer. It means nothing for regular files.
  const int descriptor = ::openat(folder, path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    const int error = errno;
    if (error == ENOENT) {
      throw Error(ErrorCode::model_format, name + ": no such file; the package is incomplete, export or copy it again");
    }
    if (error == ELOOP) {
      throw Error(ErrorCode::model_format,
                  name + ": a symbolic link, which packages must not contain; put the file itself there");
    }
    throw_refused(name, error, "put a regular file there that this user may read");
  }
  OpenFile file{FileDescriptor(descriptor), 0, name};
  struct stat status;
  if (::fstat(descriptor, &status) != 0) {
    throw Error(ErrorCode::model_format, name + ": cannot be examined: " + reason(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::model_format, name + ": not a regular file; export or copy the package again");
  }
  file.bytes = static_cast<std::uint64_t>(status.st_size);
  return file;
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

FileDescriptor open_folder(const std::string& path) {
  refuse_zero_bytes(path);
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) return FileDescriptor(descriptor);
  const int error = errno;
  const std::string advice = "a model is the folder that `voxtral-edge export` writes, with manifest.json in it";
  if (path.empty()) throw Error(ErrorCode::model_format, "the name of the package folder is empty; " + advice);
  if (error == ENOENT) throw Error(ErrorCode::model_format, path + ": there is no such folder; " + advice);
  if (error == ENOTDIR) throw Error(ErrorCode::model_format, path + ": not a folder; " + advice);
  throw_refused(path, error, advice);
}

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

OpenFile open_file(const FileDescriptor& folder, const std::string& name) {
  if (!is_plain_file_name(name)) {
    throw Error(ErrorCode::model_format, "a file name that leaves the package folder is refused");
  }
  return open_at(folder.get(), name, name);
}

OpenFile open_file(const std::string& path) {
  refuse_zero_bytes(path);
  return open_at(AT_FDCWD, path, path);
}

std::string read_whole(const OpenFile& file, std::size_t limit) {
  if (file.bytes > limit) {
    throw Error(ErrorCode::model_format, file.name + ": " + std::to_string(file.bytes) + " bytes are more than the " +
                                             std::to_string(limit) + " allowed for this file");
  }
  std::string text(static_cast<std::size_t>(file.bytes), '\0');
  read_exactly(file, 0, text.size(), text.data());
  return text;
}

void read_exactly(const OpenFile& file, std::uint64_t offset, std::uint64_t bytes, void* out) {
  char* to = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t got = ::pread(file.descriptor.get(), to, static_cast<std::size_t>(std::min(bytes, kMostBytesPerRead)),
                                static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const std::string why = reason(errno);
      throw Error(ErrorCode::model_format,
                  file.name + ": reading at byte " + std::to_string(offset) + " failed: " + why);
    }
    if (got == 0) {
      throw Error(ErrorCode::model_format, file.name + " was truncated while in use: byte " + std::to_string(offset) +
                                               " of " + std::to_string(file.bytes) +
                                               " is gone; copy the package again");
    }
    to += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::uint64_t>(got);
  }
}

void read_ahead([[maybe_unused]] const OpenFile& file, [[maybe_unused]] std::uint64_t offset,
                [[maybe_unused]] std::uint64_t bytes) {
#ifdef POSIX_FADV_WILLNEED
  ::posix_fadvise(file.descriptor.get(), static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
#endif
}

}  // namespace voxtral_edge
