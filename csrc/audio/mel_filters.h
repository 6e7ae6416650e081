// The Slaney mel filter bank (spec 3.1), stored as the few bins each triangle covers.
#pragma once

#include <cstddef>
#include <vector>

namespace voxtral_edge {

class MelFilters {
 public:
  // filters triangles over fft_length/2 + 1 bins, 0 .. sample_rate/2 Hz, Slaney scale and area norm.
  MelFilters(std::size_t filters, std::size_t fft_length, double sample_rate_hz);

  std::size_t filters() const { return first_.size(); }
  // power [fft_length/2 + 1] -> energy [filters]
  void apply(const double* power, double* energy) const;
  // Dense weight of (bin, filter), for tests and documentation.
  double weight(std::size_t bin, std::size_t filter) const;

 private:
  std::vector<std::size_t> first_;            // first bin of each filter
  std::vector<std::vector<double>> weights_;  // its consecutive weights
};

}  // namespace voxtral_edge
