// Package tensors -> packed weights, in bounded memory: strips of rows are read and permuted in parallel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "model/linear.h"
#include "model/packed_cache.h"
#include "package/package.h"

namespace voxtral_edge {

using LoadProgress = std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

// Where permuted matrices come from or go to, besides memory; at most one of the two.
struct PackedCacheUse {
  const PackedCacheReader* reader = nullptr;  // take them from here instead of permuting
  PackedCacheWriter* writer = nullptr;        // keep them here, mapped
};

class WeightLoader {
 public:
  WeightLoader(const Package& package, ThreadPool& pool, LoadProgress progress, PackedCacheUse cache = {});

  // A float32 vector (norm weight).
  std::vector<float> vector(const std::string& name);

  // One matrix from the rows of `weights`, one below the other (q, k, v in one product). `biases` has a name or ""
  // (zero) per weight, or is empty. All weights have the same precision and columns. Error(model_format) otherwise, and
  // for scales or float weights that are not finite.
  Linear linear(const std::vector<std::string>& weights, const std::vector<std::string>& biases = {});

  // A convolution kernel [out, in, taps] as a matrix [out, taps * in]: taps in time order, channels within a tap.
  Linear convolution(const std::string& weight, const std::string& bias);

 private:
  struct Source {
    const TensorInfo* weight;
    const TensorInfo* scales;
    std::size_t rows;
  };
  struct Scratch {  // of one thread; kept from matrix to matrix, because fresh memory is cleared memory
    std::vector<std::uint8_t> weights;
    std::vector<std::uint16_t> scales;
  };
  void pack(PackedMatrix& matrix, const std::vector<Source>& sources);
  void pack_share(PackedMatrix& matrix, const std::vector<Source>& sources, std::size_t first_row, std::size_t end_row,
                  Scratch& scratch) const;
  void read_rows(const std::vector<Source>& sources, bool scales, std::size_t first_row, std::size_t rows,
                 std::uint8_t* out) const;
  std::vector<float> stacked_bias(const std::vector<Source>& sources, const std::vector<std::string>& biases,
                                  std::size_t padded_rows);
  // The matrix from the cache, or what `make` fills, kept in the cache if there is one.
  template <class Make>
  PackedMatrix cached(const std::string& name, WeightType type, std::size_t rows, std::size_t columns, Make make);
  std::vector<float> floats(const std::string& name) const;
  void advance(std::uint64_t bytes);

  const Package& package_;
  ThreadPool& pool_;
  LoadProgress progress_;
  PackedCacheUse cache_;
  std::vector<Scratch> scratch_;
  std::uint64_t done_bytes_ = 0;
};

}  // namespace voxtral_edge
