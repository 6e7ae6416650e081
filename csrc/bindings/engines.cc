// NativeEngine, and PythonEngine: the same interface implemented by a Python subclass (onnxruntime).
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "bindings/bindings.h"
#include "engine/native_engine.h"
#include "engine/option_values.h"
#include "kernels/registry.h"
#include "model/delay_condition.h"
#include "model/packed_cache_format.h"

namespace voxtral_edge {

FloatArray to_array(const float* values, std::vector<py::ssize_t> shape) {
  FloatArray array(std::move(shape));
  if (array.size() > 0) std::memcpy(array.mutable_data(), values, static_cast<std::size_t>(array.nbytes()));
  return array;
}

namespace {

class BoundNativeEngine final : public BoundEngine {
 public:
  BoundNativeEngine(const std::string& directory, std::optional<std::size_t> threads, const std::string& kv_cache,
                    const std::string& kernels, LoadProgress progress, const std::string& packed_cache_folder,
                    bool packed_cache_write, const std::string& affinity)
      : BoundEngine(directory) {
    if (threads && *threads == 0) throw Error(ErrorCode::usage, "threads: must be at least 1, or None to choose");
    NativeEngineOptions options;
    options.threads = threads.value_or(0);
    options.kernels = kernels;
    options.kv_cache = kv_choice_of(kv_cache);
    options.progress = std::move(progress);
    options.packed_cache_folder = packed_cache_folder;
    options.packed_cache_write = packed_cache_write;
    options.affinity = affinity;
    const py::gil_scoped_release release;
    engine_ = NativeEngine::load(package(), options);
  }

  std::shared_ptr<Engine> engine() override { return engine_; }
  NativeEngine& native() { return *engine_; }

 private:
  std::shared_ptr<NativeEngine> engine_;
};

// State of an engine written in Python: any object. Released under the GIL.
struct PythonState final : EngineState {
  explicit PythonState(py::object value, std::uint64_t first) : object(std::move(value)), first_position(first) {}
  ~PythonState() override {
    const py::gil_scoped_acquire gil;
    object = py::object();
  }
  py::object object;
  std::uint64_t first_position;
  std::uint64_t encoded_tokens = 0, decoded_positions = 0;
};

class BoundPythonEngine : public BoundEngine {
 public:
  explicit BoundPythonEngine(const std::string& directory);
  virtual py::object create_state(const FloatArray& delay_scales, std::uint64_t first_token_position) = 0;
  virtual py::tuple encode(const py::object& state, const FloatArray& mel, std::uint64_t token_position) = 0;
  virtual FloatArray decode(const py::object& state, const FloatArray& audio_embeddings,
                            const py::array_t<std::int64_t>& previous_ids, std::uint64_t position) = 0;
  std::shared_ptr<Engine> engine() override { return adapter_; }

 private:
  const std::shared_ptr<Engine> adapter_;  // one, so that streams know that they share it
};

class PythonEngineTrampoline final : public BoundPythonEngine {
 public:
  using BoundPythonEngine::BoundPythonEngine;
  py::object create_state(const FloatArray& delay_scales, std::uint64_t first_token_position) override {
    PYBIND11_OVERRIDE_PURE(py::object, BoundPythonEngine, create_state, delay_scales, first_token_position);
  }
  py::tuple encode(const py::object& state, const FloatArray& mel, std::uint64_t token_position) override {
    PYBIND11_OVERRIDE_PURE(py::tuple, BoundPythonEngine, encode, state, mel, token_position);
  }
  FloatArray decode(const py::object& state, const FloatArray& audio_embeddings,
                    const py::array_t<std::int64_t>& previous_ids, std::uint64_t position) override {
    PYBIND11_OVERRIDE_PURE(FloatArray, BoundPythonEngine, decode, state, audio_embeddings, previous_ids, position);
  }
};

// The C++ side of a PythonEngine: converts requests to arrays and back, and chooses tokens from its logits.
class PythonEngineAdapter final : public Engine {
 public:
  explicit PythonEngineAdapter(BoundPythonEngine& bound) : bound_(bound) {}

  const ModelConfig& config() const override { return bound_.package()->config(); }
  std::size_t preferred_batch_tokens() const override { return 1; }  // its result may depend on the batch: keep one
  std::span<const double> decode_costs() const override {
    static constexpr double kOneRow[] = {1.0};
    return kOneRow;
  }

  std::unique_ptr<EngineState> create_state(std::size_t delay_tokens, std::uint64_t first_token_position) override {
    const std::vector<float> scales = delay_scales(*bound_.package(), delay_tokens);
    const py::gil_scoped_acquire gil;
    const auto array = to_array(scales.data(), {ssize(config().decoder.layers), ssize(config().decoder.width)});
    return std::make_unique<PythonState>(bound_.create_state(array, first_token_position), first_token_position);
  }

  EncodeTimes encode(std::span<const EncodeRequest> requests) override {
    const py::gil_scoped_acquire gil;
    for (const EncodeRequest& r : requests) {
      auto& state = static_cast<PythonState&>(*r.state);
      const ModelConfig& c = config();
      const auto mel = to_array(r.mel, {ssize(r.tokens * c.audio.mel_frames_per_token), ssize(c.encoder.mel_bins)});
      const py::tuple result = bound_.encode(state.object, mel, state.first_position + state.encoded_tokens);
      if (result.size() != 2) throw Error(ErrorCode::internal, "PythonEngine.encode must return (embeddings, frames)");
      copy(result[0].cast<FloatArray>(), r.tokens * c.decoder.width, r.audio_embeddings, "audio_embeddings");
      if (r.encoder_frames) {
        copy(result[1].cast<FloatArray>(), r.tokens * c.adapter.frames_per_token * c.encoder.width, r.encoder_frames,
             "encoder_frames");
      }
      state.encoded_tokens += r.tokens;
    }
    return {};
  }

  DecodeTimes decode(std::span<const DecodeRequest> requests) override {
    const py::gil_scoped_acquire gil;
    const std::size_t vocab = config().decoder.vocab_size;
    for (const DecodeRequest& r : requests) {
      auto& state = static_cast<PythonState&>(*r.state);
      py::array_t<std::int64_t> ids(ssize(r.positions));
      std::copy_n(r.previous_ids, r.positions, ids.mutable_data());
      const FloatArray logits =
          bound_.decode(state.object, to_array(r.audio_embeddings, {ssize(r.positions), ssize(config().decoder.width)}),
                        ids, state.first_position + state.decoded_positions);
      if (static_cast<std::size_t>(logits.size()) != r.positions * vocab) {
        throw Error(ErrorCode::internal, "PythonEngine.decode must return logits [positions, vocab_size]");
      }
      const float* rows = logits.data() + (r.positions - r.results) * vocab;
      for (std::size_t i = 0; i < r.results; ++i) {
        const LogitStats stats = active_kernels().logit_stats(rows + i * vocab, vocab);
        r.choices[i] = choose_token(&stats, 1, vocab);
      }
      if (r.logits) std::copy_n(rows, r.results * vocab, r.logits);
      state.decoded_positions += r.positions;
    }
    return {};
  }

  void rewind(EngineState& state, std::size_t positions) override {
    static_cast<PythonState&>(state).decoded_positions -= positions;
  }

 private:
  static py::ssize_t ssize(std::size_t value) { return static_cast<py::ssize_t>(value); }
  static void copy(const FloatArray& from, std::size_t count, float* to, const char* what) {
    if (static_cast<std::size_t>(from.size()) != count) {
      throw Error(ErrorCode::internal, std::string("PythonEngine.encode returned ") + what + " of the wrong size");
    }
    std::copy_n(from.data(), count, to);
  }

  BoundPythonEngine& bound_;  // kept alive by the Python stream object
};

BoundPythonEngine::BoundPythonEngine(const std::string& directory)
    : BoundEngine(directory), adapter_(std::make_shared<PythonEngineAdapter>(*this)) {}

py::dict native_info(BoundNativeEngine& bound) {
  NativeEngine& engine = bound.native();
  py::dict info;
  info["kernels"] = engine.kernels().name;
  info["threads"] = engine.threads();
  info["encoder_kv"] = name_of(engine.encoder_kv());
  info["decoder_kv"] = name_of(engine.decoder_kv());
  const std::span<const double> costs = engine.decode_costs();
  info["decode_costs"] = std::vector<double>(costs.begin(), costs.end());
  info["weight_bytes"] = engine.weight_bytes();
  info["state_bytes"] = engine.state_bytes();
  const PackedCacheReport& cache = engine.packed_cache();
  py::dict packed;
  packed["state"] = name_of(cache.state);
  packed["path"] = path_text(cache.path);
  packed["note"] = path_text(cache.note);
  info["packed_cache"] = packed;
  return info;
}

py::dict audio_info(const BoundEngine& bound) {
  const AudioConfig& audio = bound.package()->config().audio;
  py::dict info;
  info["sample_rate_hz"] = audio.sample_rate_hz;
  info["samples_per_token"] = audio.samples_per_token;
  info["left_pad_tokens"] = audio.left_pad_tokens;
  info["default_delay_tokens"] = audio.default_delay_tokens;
  return info;
}

}  // namespace

BoundEngine::BoundEngine(const std::string& directory) : opened_(open_package(directory)) {}

void bind_engines(py::module_& module) {
  py::class_<BoundEngine, std::shared_ptr<BoundEngine>>(module, "Engine")
      .def_property_readonly("name", [](const BoundEngine& e) { return e.package()->name(); })
      .def_property_readonly("directory", [](const BoundEngine& e) { return path_text(e.package()->directory()); })
      .def_property_readonly("precision", [](const BoundEngine& e) { return e.package()->precision(); })
      .def_property_readonly("encoder",
                             [](const BoundEngine& e) { return std::const_pointer_cast<TextEncoder>(e.encoder()); })
      .def_property_readonly("audio", &audio_info);

  py::class_<BoundNativeEngine, BoundEngine, std::shared_ptr<BoundNativeEngine>>(module, "NativeEngine")
      .def(py::init<const std::string&, std::optional<std::size_t>, const std::string&, const std::string&,
                    LoadProgress, const std::string&, bool, const std::string&>(),
           py::arg("package_dir"), py::arg("threads") = py::none(), py::arg("kv_cache") = "auto",
           py::arg("kernels") = "", py::arg("on_progress") = nullptr, py::arg("packed_cache_folder") = "",
           py::arg("packed_cache_write") = true, py::arg("affinity") = "")
      .def("info", &native_info);

  module.def(
      "packed_cache_file_name",
      [](const std::string& directory) { return packed_cache_file_name(*Package::open(directory)); },
      py::arg("package_dir"), "What the file of this package's permuted weights is called, in whatever folder.");

  py::class_<BoundPythonEngine, BoundEngine, PythonEngineTrampoline, std::shared_ptr<BoundPythonEngine>>(module,
                                                                                                         "PythonEngine")
      .def(py::init<const std::string&>(), py::arg("package_dir"));
}

}  // namespace voxtral_edge
