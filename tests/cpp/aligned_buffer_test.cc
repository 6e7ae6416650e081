// AlignedBuffer: zeroed, aligned, movable, clearable, and a typed error when memory is short.
#include "base/aligned_buffer.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "check.h"

using namespace voxtral_edge;

TEST("memory is zeroed and aligned at every size") {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{4097},
                                  (std::size_t{2} << 20) - 1, std::size_t{2} << 20, (std::size_t{5} << 20) + 17}) {
    AlignedBuffer buffer(bytes);
    CHECK_EQ(buffer.bytes(), bytes);
    const std::size_t alignment = bytes >= (std::size_t{2} << 20) ? std::size_t{2} << 20 : 64;
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % alignment, std::size_t{0});
    bool zero = true;
    for (std::size_t i = 0; i < bytes; i++) zero = zero && buffer.data()[i] == 0;
    CHECK(zero);
    buffer.data()[0] = 1;
    buffer.data()[bytes - 1] = 2;
  }
}

TEST("an empty buffer has no memory") {
  AlignedBuffer none, zero(0);
  CHECK(none.data() == nullptr && zero.data() == nullptr);
  CHECK_EQ(zero.bytes(), std::size_t{0});
  none.clear();
}

TEST("moving hands over the memory") {
  for (const std::size_t bytes : {std::size_t{100}, std::size_t{3} << 20}) {
    AlignedBuffer first(bytes);
    first.data()[7] = 42;
    const std::uint8_t* address = first.data();
    AlignedBuffer second(std::move(first));
    CHECK(first.data() == nullptr);
    CHECK_EQ(first.bytes(), std::size_t{0});
    CHECK(second.data() == address);
    AlignedBuffer third(std::size_t{4} << 20);
    third = std::move(second);
    CHECK(third.data() == address);
    CHECK_EQ(static_cast<int>(third.data()[7]), 42);
    AlignedBuffer& self = third;
    third = std::move(self);
    CHECK_EQ(static_cast<int>(third.data()[7]), 42);
  }
}

TEST("clear makes everything zero again") {
  for (const std::size_t bytes : {std::size_t{100}, std::size_t{3} << 20}) {
    AlignedBuffer buffer(bytes);
    for (std::size_t i = 0; i < bytes; i++) buffer.data()[i] = 0xff;
    buffer.clear();
    bool zero = true;
    for (std::size_t i = 0; i < bytes; i++) zero = zero && buffer.data()[i] == 0;
    CHECK(zero);
  }
}

TEST("more memory than there is gives a device error that says how much") {
  CHECK_THROWS_CODE(AlignedBuffer(std::size_t{1} << 56), ErrorCode::out_of_memory);
  CHECK_THROWS_CODE(AlignedBuffer(std::numeric_limits<std::size_t>::max()), ErrorCode::out_of_memory);
  try {
    AlignedBuffer buffer(std::size_t{1} << 56);
  } catch (const Error& e) {
    CHECK(std::string(e.what()).find("72057594037927936") != std::string::npos);
  }
}

CHECK_MAIN()
