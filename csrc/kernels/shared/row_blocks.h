// Splits the activation rows of a product into blocks whose sums fit the registers.
#pragma once

#include <cstddef>

namespace voxtral_edge::shared {

// Calls f.operator()<M>() for the M in [1, Most] that equals m.
template <std::size_t Most, class F>
void with_constant(std::size_t m, F f) {
  if constexpr (Most > 1) {
    if (m < Most) return with_constant<Most - 1>(m, f);
  }
  f.template operator()<Most>();
}

// f.operator()<M>(first_row) for blocks of at most Most rows, of sizes that differ by at most one: 17 rows are 9 + 8,
// not 16 + 1, because a block of one row costs nearly as much as one of four.
template <std::size_t Most, class F>
void for_row_blocks(std::size_t rows, F f) {
  const std::size_t blocks = (rows + Most - 1) / Most;
  for (std::size_t i = 0; i < blocks; i++) {
    const std::size_t begin = rows * i / blocks, end = rows * (i + 1) / blocks;
    with_constant<Most>(end - begin, [&]<std::size_t M>() { f.template operator()<M>(begin); });
  }
}

}  // namespace voxtral_edge::shared
