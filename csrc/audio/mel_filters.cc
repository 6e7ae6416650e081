#include "audio/mel_filters.h"

#include <algorithm>
#include <cmath>

namespace voxtral_edge {
namespace {

// Slaney's scale: linear below 1 kHz (3 mel per 200 Hz), logarithmic above (27 steps per factor 6.4).
double hz_to_mel(double hz) {
  return hz < 1000.0 ? 3.0 * hz / 200.0 : 15.0 + std::log(hz / 1000.0) * 27.0 / std::log(6.4);
}

double mel_to_hz(double mel) {
  return mel < 15.0 ? 200.0 * mel / 3.0 : 1000.0 * std::exp((mel - 15.0) * std::log(6.4) / 27.0);
}

}  // namespace

MelFilters::MelFilters(std::size_t filters, std::size_t fft_length, double sample_rate_hz)
    : first_(filters), weights_(filters) {
  const std::size_t bins = fft_length / 2 + 1;
  const double top_mel = hz_to_mel(sample_rate_hz / 2.0);
  std::vector<double> edge_hz(filters + 2);
  for (std::size_t i = 0; i < edge_hz.size(); ++i) {
    edge_hz[i] = mel_to_hz(top_mel * static_cast<double>(i) / static_cast<double>(filters + 1));
  }
  for (std::size_t m = 0; m < filters; ++m) {
    const double low = edge_hz[m], centre = edge_hz[m + 1], high = edge_hz[m + 2];
    for (std::size_t bin = 0; bin < bins; ++bin) {
      const double hz = sample_rate_hz / 2.0 * static_cast<double>(bin) / static_cast<double>(bins - 1);
      const double weight = std::min((hz - low) / (centre - low), (high - hz) / (high - centre));
      if (weight <= 0.0) {
        if (!weights_[m].empty()) break;  // a triangle is one run of bins
        continue;
      }
      if (weights_[m].empty()) first_[m] = bin;
      weights_[m].push_back(weight * 2.0 / (high - low));
    }
  }
}

void MelFilters::apply(const double* power, double* energy) const {
  for (std::size_t m = 0; m < first_.size(); ++m) {
    double sum = 0.0;
    for (std::size_t i = 0; i < weights_[m].size(); ++i) sum += weights_[m][i] * power[first_[m] + i];
    energy[m] = sum;
  }
}

double MelFilters::weight(std::size_t bin, std::size_t filter) const {
  if (bin < first_[filter] || bin >= first_[filter] + weights_[filter].size()) return 0.0;
  return weights_[filter][bin - first_[filter]];
}

}  // namespace voxtral_edge
