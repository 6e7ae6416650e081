#include "model/delay_condition.h"

#include <cmath>
#include <string>

namespace voxtral_edge {
namespace {

std::vector<float> read_floats(const Package& package, const std::string& name) {
  const TensorInfo& tensor = package.tensor(name);
  std::vector<float> values(tensor.bytes / sizeof(float));
  package.read(tensor, 0, tensor.bytes, values.data());
  return values;
}

// y [rows] = w [rows][columns] x [columns]
std::vector<double> multiply(const std::vector<float>& w, const std::vector<double>& x) {
  std::vector<double> y(w.size() / x.size());
  for (std::size_t r = 0; r < y.size(); ++r) {
    double sum = 0.0;
    for (std::size_t c = 0; c < x.size(); ++c) sum += static_cast<double>(w[r * x.size() + c]) * x[c];
    y[r] = sum;
  }
  return y;
}

}  // namespace

std::vector<float> delay_scales(const Package& package, std::size_t delay_tokens) {
  const DecoderConfig& decoder = package.config().decoder;
  const std::size_t half = decoder.width / 2;
  std::vector<double> condition(decoder.width);
  for (std::size_t i = 0; i < half; ++i) {
    const double frequency = std::exp(-std::log(10000.0) * static_cast<double>(i) / static_cast<double>(half));
    condition[i] = std::cos(static_cast<double>(delay_tokens) * frequency);
    condition[half + i] = std::sin(static_cast<double>(delay_tokens) * frequency);
  }
  std::vector<float> scales;
  scales.reserve(decoder.layers * decoder.width);
  for (std::size_t layer = 0; layer < decoder.layers; ++layer) {
    const std::string prefix = "decoder.layers." + std::to_string(layer) + ".delay.";
    std::vector<double> hidden = multiply(read_floats(package, prefix + "linear1.weight"), condition);
    for (double& v : hidden) v = 0.5 * v * (1.0 + std::erf(v / std::sqrt(2.0)));
    for (double g : multiply(read_floats(package, prefix + "linear2.weight"), hidden)) {
      scales.push_back(static_cast<float>(g));
    }
  }
  return scales;
}

}  // namespace voxtral_edge
