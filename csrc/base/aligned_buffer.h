// Zeroed, page-backed memory for weights and KV rings.
#pragma once

#include <cstddef>
#include <cstdint>

namespace voxtral_edge {

// How the memory is mapped from 2 MiB on. `huge` (2 MiB pages) reads 10 % faster: weights, which are written once and
// whole. `small` (4 KiB) is touched bit by bit: a KV ring, which would otherwise take and zero nearly all its memory at
// the first token (a 2 MiB page per head: 1.3 GB and 0.2 s at full size).
enum class PageSize { huge, small };

// Owns `bytes` of zeroed memory, aligned to 64 bytes. Pages cost memory only once they are written. Move-only.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Error(device) when memory is short; says how much was asked for.
  explicit AlignedBuffer(std::size_t bytes, PageSize pages = PageSize::huge);
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;

  std::uint8_t* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  // Returns the pages to the system; contents read as zero afterwards.
  void clear();

 private:
  std::uint8_t* data_ = nullptr;
  std::size_t bytes_ = 0;
  void* mapping_ = nullptr;  // null when allocated from the heap
  std::size_t mapping_bytes_ = 0;
};

}  // namespace voxtral_edge
