#include "model/weight_loader.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <utility>

#include "base/error.h"

namespace voxtral_edge {
namespace {

// What a thread reads before it permutes: it stays in the thread's own cache (512 KiB on a Cortex-A76).
constexpr std::size_t kStripBytes = 256u << 10;
// How far ahead of a read the disk is kept busy: tens of milliseconds of the quickest disks.
constexpr std::uint64_t kReadAheadBytes = 16u << 20;
// What a thread fills at a time: the huge page that its first write makes the system clear. Two threads in one page
// would both clear one.
constexpr std::size_t kShareBytes = 2u << 20;

WeightType weight_type(const TensorInfo& tensor) {
  if (tensor.quantization.bits == 4) return WeightType::q4;
  if (tensor.quantization.bits == 8) return WeightType::q8;
  return tensor.type == TensorType::f16 ? WeightType::f16 : WeightType::f32;
}

std::size_t row_count(const TensorInfo& tensor) { return tensor.shape.front(); }

std::size_t column_count(const TensorInfo& tensor) {
  return tensor.quantization.bits != 0 ? tensor.quantization.columns : tensor.shape.back();
}

[[noreturn]] void not_finite(const std::string& name, std::uint64_t index) {
  throw Error(ErrorCode::model_format, "weights.bin: tensor " + name + " holds a value that is not finite at index " +
                                           std::to_string(index) + "; the package is damaged, export it again");
}

// first_index: of values[0] in the tensor.
void require_finite(const float* values, std::size_t count, const std::string& name, std::uint64_t first_index = 0) {
  for (std::size_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) not_finite(name, first_index + i);
  }
}

void require_finite_f16(const std::uint16_t* values, std::size_t count, const std::string& name,
                        std::uint64_t first_index) {
  for (std::size_t i = 0; i < count; ++i) {
    if ((values[i] & 0x7c00u) == 0x7c00u) not_finite(name, first_index + i);
  }
}

}  // namespace

WeightLoader::WeightLoader(const Package& package, ThreadPool& pool, LoadProgress progress, PackedCacheUse cache)
    : package_(package), pool_(pool), progress_(std::move(progress)), cache_(cache), scratch_(pool.size()) {}

void WeightLoader::advance(std::uint64_t bytes) {
  done_bytes_ += bytes;
  if (progress_) progress_(done_bytes_, package_.weight_bytes());
}

std::vector<float> WeightLoader::vector(const std::string& name) {
  std::vector<float> values = floats(name);
  advance(values.size() * sizeof(float));
  return values;
}

std::vector<float> WeightLoader::floats(const std::string& name) const {
  const TensorInfo& tensor = package_.tensor(name);
  std::vector<float> values(tensor.bytes / sizeof(float));
  package_.read(tensor, 0, tensor.bytes, values.data());
  require_finite(values.data(), values.size(), name);
  return values;
}

template <class Make>
PackedMatrix WeightLoader::cached(const std::string& name, WeightType type, std::size_t rows, std::size_t columns,
                                  Make make) {
  if (cache_.reader != nullptr) return cache_.reader->matrix(name, type, rows, columns);
  PackedMatrix matrix(type, rows, columns);
  make(matrix);
  return cache_.writer == nullptr ? std::move(matrix) : cache_.writer->keep(name, matrix);
}

Linear WeightLoader::linear(const std::vector<std::string>& weights, const std::vector<std::string>& biases) {
  std::vector<Source> sources;
  std::size_t rows = 0;
  std::string names;
  for (const std::string& name : weights) {
    names += (names.empty() ? "" : " ") + name;
    const TensorInfo& tensor = package_.tensor(name);
    const TensorInfo* scales = tensor.quantization.bits != 0 ? &package_.tensor(tensor.quantization.scales) : nullptr;
    sources.push_back({&tensor, scales, row_count(tensor)});
    rows += sources.back().rows;
    if (weight_type(tensor) != weight_type(*sources[0].weight) ||
        column_count(tensor) != column_count(*sources[0].weight)) {
      throw Error(ErrorCode::model_format, "manifest.json: tensors " + weights[0] + " and " + name +
                                               " must have the same precision and columns; export the package again");
    }
  }
  PackedMatrix matrix = cached(names, weight_type(*sources[0].weight), rows, column_count(*sources[0].weight),
                               [&](PackedMatrix& empty) { pack(empty, sources); });
  for (const Source& source : sources) advance(source.weight->bytes + (source.scales ? source.scales->bytes : 0));
  std::vector<float> bias = stacked_bias(sources, biases, matrix.padded_rows());
  return Linear(std::move(matrix), std::move(bias));
}

std::vector<float> WeightLoader::stacked_bias(const std::vector<Source>& sources,
                                              const std::vector<std::string>& biases, std::size_t padded_rows) {
  if (biases.empty()) return {};
  std::vector<float> stacked(padded_rows, 0.0f);
  std::size_t row = 0;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (!biases[i].empty()) {
      const std::vector<float> bias = vector(biases[i]);
      std::copy(bias.begin(), bias.end(), stacked.begin() + static_cast<std::ptrdiff_t>(row));
    }
    row += sources[i].rows;
  }
  return stacked;
}

void WeightLoader::read_rows(const std::vector<Source>& sources, bool scales, std::size_t first_row, std::size_t rows,
                             std::uint8_t* out) const {
  std::size_t source_first = 0;
  for (const Source& source : sources) {
    const std::size_t begin = std::max(first_row, source_first);
    const std::size_t end = std::min(first_row + rows, source_first + source.rows);
    if (begin < end) {
      const TensorInfo& tensor = scales ? *source.scales : *source.weight;
      const std::uint64_t row_bytes = tensor.bytes / source.rows;
      const std::uint64_t offset = (begin - source_first) * row_bytes, bytes = (end - begin) * row_bytes;
      std::uint8_t* piece = out + (begin - first_row) * row_bytes;
      // The threads and the scales keep the system from seeing that all this is one sequential read.
      package_.read_ahead(tensor, offset + kReadAheadBytes, bytes);
      package_.read(tensor, offset, bytes, piece);
      if (tensor.type == TensorType::f32) {
        require_finite(reinterpret_cast<const float*>(piece), bytes / 4, tensor.name, offset / 4);
      } else if (tensor.type == TensorType::f16) {
        require_finite_f16(reinterpret_cast<const std::uint16_t*>(piece), bytes / 2, tensor.name, offset / 2);
      }
    }
    source_first += source.rows;
  }
}

void WeightLoader::pack_share(PackedMatrix& matrix, const std::vector<Source>& sources, std::size_t first_row,
                              std::size_t end_row, Scratch& scratch) const {
  const std::size_t row_bytes = static_cast<std::size_t>(sources[0].weight->bytes / sources[0].rows);
  const std::size_t scale_bytes =
      sources[0].scales ? static_cast<std::size_t>(sources[0].scales->bytes / sources[0].rows) : 0;
  const std::size_t strip_rows = std::max<std::size_t>(kStripBytes / row_bytes / kGroupRows, 1) * kGroupRows;
  for (std::size_t row = first_row; row < end_row; row += strip_rows) {
    const std::size_t rows = std::min(strip_rows, end_row - row);
    if (scratch.weights.size() < rows * row_bytes) scratch.weights.resize(rows * row_bytes);
    if (scratch.scales.size() < rows * scale_bytes / 2) scratch.scales.resize(rows * scale_bytes / 2);
    read_rows(sources, false, row, rows, scratch.weights.data());
    if (scale_bytes != 0) read_rows(sources, true, row, rows, reinterpret_cast<std::uint8_t*>(scratch.scales.data()));
    matrix.pack_rows(row, rows, scratch.weights.data(), scale_bytes != 0 ? scratch.scales.data() : nullptr);
  }
}

void WeightLoader::pack(PackedMatrix& matrix, const std::vector<Source>& sources) {
  const TensorInfo& first = *sources[0].weight;
  const std::size_t share_rows = std::max<std::size_t>(kShareBytes / matrix.group_bytes(), 1) * kGroupRows;
  const std::size_t shares = (matrix.rows() + share_rows - 1) / share_rows;

  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  pool_.run([&](std::size_t thread) {
    try {
      for (std::size_t share = next++; share < shares; share = next++) {
        const std::size_t row = share * share_rows;
        pack_share(matrix, sources, row, std::min(row + share_rows, matrix.rows()), scratch_[thread]);
      }
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failure_mutex);
      failure = std::current_exception();
      next = shares;
    }
  });
  if (failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const Error& error) {
      throw Error(error.code(), std::string(error.what()) + " (weights.bin, while loading " + first.name + ")");
    }
  }
}

Linear WeightLoader::convolution(const std::string& weight, const std::string& bias) {
  const TensorInfo& tensor = package_.tensor(weight);
  const std::size_t out = tensor.shape[0], in = tensor.shape[1], taps = tensor.shape[2];
  PackedMatrix matrix = cached(weight, WeightType::f32, out, taps * in, [&](PackedMatrix& empty) {
    const std::vector<float> source = floats(weight);
    std::vector<float> reordered(source.size());
    for (std::size_t o = 0; o < out; ++o) {
      for (std::size_t i = 0; i < in; ++i) {
        for (std::size_t t = 0; t < taps; ++t) reordered[(o * taps + t) * in + i] = source[(o * in + i) * taps + t];
      }
    }
    empty.pack_rows(0, out, reordered.data(), nullptr);
  });
  advance(tensor.bytes);
  std::vector<float> padded = vector(bias);
  padded.resize(matrix.padded_rows(), 0.0f);
  return Linear(std::move(matrix), std::move(padded));
}

}  // namespace voxtral_edge
