#include "base/aligned_buffer.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#define VOXTRAL_EDGE_HAS_MMAP 1
#endif

#include "base/error.h"

namespace voxtral_edge {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

[[noreturn]] void out_of_memory(std::size_t bytes) {
  throw Error(ErrorCode::out_of_memory,
              "cannot allocate " + std::to_string(bytes) + " bytes (" + std::to_string(bytes >> 20) +
                  " MiB): free memory, or use a smaller precision, window or number of streams");
}

}  // namespace

AlignedBuffer::AlignedBuffer(std::size_t bytes, [[maybe_unused]] PageSize pages) : bytes_(bytes) {
  if (bytes == 0) return;
  if (bytes > std::numeric_limits<std::size_t>::max() / 2) out_of_memory(bytes);
#ifdef VOXTRAL_EDGE_HAS_MMAP
  if (bytes >= kHugePage) {
    const std::size_t length = (bytes + kHugePage - 1) & ~(kHugePage - 1);
    mapping_bytes_ = length + kHugePage;  // room to align; the spare pages are never touched
    void* mapping = mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) out_of_memory(bytes);
    mapping_ = mapping;
    const auto address = reinterpret_cast<std::uintptr_t>(mapping);
    data_ = reinterpret_cast<std::uint8_t*>((address + kHugePage - 1) & ~(static_cast<std::uintptr_t>(kHugePage) - 1));
#ifdef MADV_HUGEPAGE
    // Advice: where huge pages are refused, small ones work too.
    // Small pages at the end: a huge one that is used in part is cleared and taken whole (0.2 GB over the 4B model's
    // matrices).
    const std::size_t whole = pages == PageSize::huge ? bytes & ~(kHugePage - 1) : 0;
    if (whole != 0) madvise(data_, whole, MADV_HUGEPAGE);
    if (whole != length) madvise(data_ + whole, length - whole, MADV_NOHUGEPAGE);
#endif
    return;
  }
#endif
  const std::size_t rounded = (bytes + kCacheLine - 1) & ~(kCacheLine - 1);
  data_ = static_cast<std::uint8_t*>(std::aligned_alloc(kCacheLine, rounded));
  if (data_ == nullptr) out_of_memory(bytes);
  std::memset(data_, 0, rounded);
}

AlignedBuffer::~AlignedBuffer() {
#ifdef VOXTRAL_EDGE_HAS_MMAP
  if (mapping_ != nullptr) {
    munmap(mapping_, mapping_bytes_);
    return;
  }
#endif
  std::free(data_);
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      mapping_bytes_(std::exchange(other.mapping_bytes_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  AlignedBuffer taken(std::move(other));
  std::swap(data_, taken.data_);
  std::swap(bytes_, taken.bytes_);
  std::swap(mapping_, taken.mapping_);
  std::swap(mapping_bytes_, taken.mapping_bytes_);
  return *this;
}

void AlignedBuffer::clear() {
  if (data_ == nullptr) return;
#if defined(VOXTRAL_EDGE_HAS_MMAP) && defined(__linux__)
  // Only Linux promises zero pages after MADV_DONTNEED.
  if (mapping_ != nullptr && madvise(mapping_, mapping_bytes_, MADV_DONTNEED) == 0) return;
#endif
  std::memset(data_, 0, bytes_);
}

}  // namespace voxtral_edge
