// Bounded first-in first-out store of samples with 64-bit positions that never wrap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace voxtral_edge {

class SampleRing {
 public:
  explicit SampleRing(std::size_t capacity_samples) : samples_(capacity_samples) {}

  std::size_t size() const { return static_cast<std::size_t>(end_ - begin_); }
  std::size_t free() const { return samples_.size() - size(); }

  // Takes as many samples as fit; returns how many.
  std::size_t push(std::span<const float> samples) {
    const std::size_t count = std::min(samples.size(), free());
    for (std::size_t done = 0; done < count;) {
      const std::size_t slot = static_cast<std::size_t>(end_ % samples_.size());
      const std::size_t run = std::min(count - done, samples_.size() - slot);
      std::copy_n(samples.data() + done, run, samples_.data() + slot);
      done += run;
      end_ += run;
    }
    return count;
  }

  // out[i] = the i-th oldest sample, for i < count <= size().
  template <class T>
  void peek(std::size_t count, T* out) const {
    const std::size_t slot = static_cast<std::size_t>(begin_ % samples_.size());
    const std::size_t run = std::min(count, samples_.size() - slot);
    std::copy_n(samples_.data() + slot, run, out);
    std::copy_n(samples_.data(), count - run, out + run);
  }

  void drop(std::size_t count) { begin_ += std::min<std::uint64_t>(count, size()); }

  void reset(std::uint64_t position) { begin_ = end_ = position; }

 private:
  std::vector<float> samples_;
  std::uint64_t begin_ = 0, end_ = 0;
};

}  // namespace voxtral_edge
