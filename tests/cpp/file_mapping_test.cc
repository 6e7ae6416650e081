// FileMapping: the bytes asked for at any offset, whatever this kernel's page size (4, 16 or 64 KiB).
#include "base/file_mapping.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "check.h"
#include "package/files.h"
#include "temporary_folder.h"

using namespace voxtral_edge;
using check::TemporaryFolder;

namespace {

std::string numbered_bytes(std::size_t bytes) {
  std::string content(bytes, '\0');
  for (std::size_t i = 0; i < bytes; i++) content[i] = static_cast<char>((i * 2654435761U) >> 13);
  return content;
}

}  // namespace

TEST("any offset and length") {
  const TemporaryFolder folder;
  const std::string content = numbered_bytes(200000);
  check::write_file(folder / "file", content);
  const FileDescriptor file(::open((folder / "file").c_str(), O_RDONLY));
  for (const std::size_t offset : {0, 1, 64, 4095, 4096, 8192, 16384, 20480, 65536, 65600, 199999}) {
    for (const std::size_t wanted : {1, 4096, 70000}) {
      const std::size_t bytes = std::min(wanted, content.size() - offset);
      const FileMapping mapping(file.get(), offset, bytes);
      CHECK_EQ(mapping.bytes(), bytes);
      CHECK(mapping.populate(0, bytes));
      CHECK(mapping.populate(bytes / 2, bytes - bytes / 2));
      CHECK(std::memcmp(mapping.data(), content.data() + offset, bytes) == 0);
    }
  }
}

TEST("a file that cannot be mapped is a device error") {
  CHECK_THROWS_CODE(FileMapping(-1, 4096, 4096), ErrorCode::device);
}

CHECK_MAIN()
