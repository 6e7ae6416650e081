// The audio front end for Python, for tests and inspection.
#include <pybind11/stl.h>

#include "audio/log_mel.h"
#include "bindings/bindings.h"

namespace voxtral_edge {
namespace {

// float32 [samples] -> float32 [frames][mel_bins]: the frames that became complete.
FloatArray push(LogMel& mel, const FloatArray& samples) {
  std::vector<float> frames;
  std::span<const float> rest(samples.data(), static_cast<std::size_t>(samples.size()));
  constexpr std::size_t kFrames = 64;
  std::vector<float> block(kFrames * mel.mel_bins());
  for (;;) {
    const LogMel::Progress done = mel.push(rest, block.data(), kFrames);
    rest = rest.subspan(done.samples);
    frames.insert(frames.end(), block.begin(),
                  block.begin() + static_cast<std::ptrdiff_t>(done.frames * mel.mel_bins()));
    if (rest.empty() && done.frames < kFrames) break;
  }
  const auto bins = static_cast<py::ssize_t>(mel.mel_bins());
  return to_array(frames.data(), {static_cast<py::ssize_t>(frames.size()) / bins, bins});
}

FloatArray mel_filter_bank(std::size_t filters, std::size_t fft_length, double sample_rate_hz) {
  const MelFilters bank(filters, fft_length, sample_rate_hz);
  std::vector<float> dense;
  for (std::size_t bin = 0; bin <= fft_length / 2; ++bin) {
    for (std::size_t m = 0; m < filters; ++m) dense.push_back(static_cast<float>(bank.weight(bin, m)));
  }
  return to_array(dense.data(), {static_cast<py::ssize_t>(fft_length / 2 + 1), static_cast<py::ssize_t>(filters)});
}

}  // namespace

void bind_audio(py::module_& module) {
  py::class_<LogMel>(module, "LogMel", "Incremental log-mel front end: push(samples) -> new frames [frames, mel_bins].")
      .def(py::init([](const BoundEngine& engine) {
             const ModelConfig& config = engine.package()->config();
             return std::make_unique<LogMel>(config.audio, config.encoder.mel_bins);
           }),
           py::arg("engine"))
      .def("push", &push, py::arg("samples"))
      .def("reset", &LogMel::reset, py::arg("first_sample") = 0);
  module.def("mel_filter_bank", &mel_filter_bank, py::arg("filters"), py::arg("fft_length"), py::arg("sample_rate_hz"),
             "Slaney mel filter bank, float32 [fft_length / 2 + 1, filters].");
}

}  // namespace voxtral_edge
