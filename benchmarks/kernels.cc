// Times every kernel at the model's shapes beside the read floor: the time to read the same bytes, measured in the same
// run with the same threads; integer products also beside the integer peak (kernels/integer_peak.h). Weights rotate
// through more memory than any cache holds.
//
//   kernels_benchmark [--threads N] [--isa NAME] [--megabytes M] [--milliseconds T] [--quick] [--json FILE]
//
// Each figure is the time that one pass in ten stays below, of about T milliseconds of passes: other programs only ever
// make a pass slower. On a shared machine compare the ratios.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/half.h"
#include "kernels/integer_peak.h"
#include "kernels/kernels.h"
#include "kernels/packed_matrix.h"
#include "kernels/registry.h"

namespace {

using namespace voxtral_edge;
using Clock = std::chrono::steady_clock;

struct Options {
  std::size_t threads = 2, megabytes = 256, milliseconds = 60;
  std::string isa, json;
  bool quick = false;
};

struct Result {
  std::string kernel, isa;
  std::size_t outputs, columns, rows;
  double milliseconds, floor_milliseconds, gigabytes_per_second, gigaops;
  double peak_gigaops = 0;  // of integer products: what the same threads reach on registers, measured just before
};

struct Context {
  const Options& options;
  ThreadPool& pool;
  std::vector<Result> results;

  void add(const Result& r) {
    std::printf("%-13s %-12s %6zu x %-5zu %4zu  %9.4f ms  %6.1f GB/s  %4.0f %% of read  %7.1f Gop/s", r.kernel.c_str(),
                r.isa.c_str(), r.outputs, r.columns, r.rows, r.milliseconds, r.gigabytes_per_second,
                100 * r.floor_milliseconds / r.milliseconds, r.gigaops);
    if (r.peak_gigaops > 0) std::printf("  %3.0f %% of peak", 100 * r.gigaops / r.peak_gigaops);
    std::printf("\n");
    std::fflush(stdout);
    results.push_back(r);
  }
};

double tenth_percentile(std::vector<double>& times) {
  const auto nth = times.begin() + static_cast<long>(times.size() / 10);
  std::nth_element(times.begin(), nth, times.end());
  return *nth;
}

template <class F>
double milliseconds_of(F f) {
  const auto begin = Clock::now();
  f();
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// Tenth percentiles of the milliseconds of kernel(pass) and floor(pass), run in turns so that both meet the same mood
// of the machine, after one pass each to warm up.
template <class Kernel, class Floor>
std::pair<double, double> pass_ms(std::size_t milliseconds, Kernel kernel, Floor floor) {
  std::vector<double> kernel_times, floor_times;
  kernel(0);
  floor(1);
  const auto end = Clock::now() + std::chrono::milliseconds(milliseconds);
  for (std::size_t pass = 2; kernel_times.size() < 10 || Clock::now() < end; pass += 2) {
    kernel_times.push_back(milliseconds_of([&] { kernel(pass); }));
    floor_times.push_back(milliseconds_of([&] { floor(pass + 1); }));
  }
  return {tenth_percentile(kernel_times), tenth_percentile(floor_times)};
}

std::atomic<std::uint64_t> sink{0};

// One word of every cache line: memory delivers whole lines, and the fewer instructions per line, the more lines are
// under way at once. (Summing every word is slower than multiplying with AVX-512 when the memory is busy.)
void read_bytes(const std::uint8_t* data, std::size_t bytes) {
  constexpr std::size_t kLine = 8;  // words
  const auto* words = reinterpret_cast<const std::uint64_t*>(data);
  std::uint64_t sums[4] = {};
  for (std::size_t i = 0; i + 4 * kLine <= bytes / 8; i += 4 * kLine)
    for (std::size_t j = 0; j < 4; j++) {
      __builtin_prefetch(words + i + j * kLine + 1152);  // 9 KiB ahead, as the kernels do
      sums[j] += words[i + j * kLine];
    }
  sink += sums[0] + sums[1] + sums[2] + sums[3];
}

// Copies of one packed matrix that together exceed the caches.
struct Rotation {
  AlignedBuffer memory;
  std::size_t bytes, copies;
  const std::uint8_t* at(std::size_t pass) const { return memory.data() + pass % copies * bytes; }
};

Rotation rotate(const PackedMatrix& matrix, std::size_t megabytes) {
  const std::size_t bytes = matrix.bytes(), copies = std::max<std::size_t>(1, (megabytes << 20) / bytes);
  Rotation rotation{AlignedBuffer(bytes * copies), bytes, copies};
  for (std::size_t i = 0; i < copies; i++) std::memcpy(rotation.memory.data() + i * bytes, matrix.data(), bytes);
  return rotation;
}

PackedMatrix random_matrix(WeightType type, std::size_t outputs, std::size_t columns) {
  std::mt19937_64 random(1);
  PackedMatrix matrix(type, outputs, columns);
  const std::size_t blocks = (columns + kBlockColumns - 1) / kBlockColumns;
  std::vector<std::uint8_t> bytes(kGroupRows * (type == WeightType::f32 ? columns * 4 : blocks * kBlockColumns * 2));
  for (std::size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<std::uint8_t>(random());
  if (type == WeightType::f32 || type == WeightType::f16) {
    for (std::size_t i = 0; i < kGroupRows * columns; i++) {
      const float value = static_cast<float>(bytes[i]) / 128.0f - 1.0f;
      const std::uint16_t half = half_from_float(value);
      if (type == WeightType::f32) std::memcpy(&bytes[i * 4], &value, 4);
      else std::memcpy(&bytes[i * 2], &half, 2);
    }
  }
  const std::vector<std::uint16_t> scales(kGroupRows * blocks, half_from_float(0.01f));
  for (std::size_t row = 0; row < outputs; row += kGroupRows)
    matrix.pack_rows(row, std::min(kGroupRows, outputs - row), bytes.data(), scales.data());
  return matrix;
}

const char* type_name(WeightType type) {
  switch (type) {
    case WeightType::q4:
      return "matmul_q4";
    case WeightType::q8:
      return "matmul_q8";
    case WeightType::f16:
      return "matmul_f16";
    case WeightType::f32:
      return "matmul_f32";
  }
  return "";
}

struct Operands {
  AlignedBuffer x, y, values, scales, sums;
  QuantizedRows quantized;
  Operands(std::size_t rows, std::size_t columns, std::size_t outputs)
      : x(rows * columns * 4),
        y(rows * outputs * 4),
        values(rows * (columns + kTileColumns)),
        scales(rows * (columns / kBlockColumns + 4) * 4),
        sums(rows * (columns / kBlockColumns + 4) * 4) {
    std::mt19937 random(2);
    for (std::size_t i = 0; i < rows * columns; i++)
      x.as<float>()[i] = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
    quantized = {values.as<std::int8_t>(), scales.as<float>(), sums.as<std::int32_t>(),
                 (columns + kTileColumns - 1) / kTileColumns * kTileColumns};
  }
};

void multiply(const Kernels& k, WeightType type, const std::uint8_t* w, std::size_t columns, const Operands& o,
              std::size_t rows, std::size_t begin, std::size_t end, std::size_t stride) {
  float* y = o.y.as<float>();
  const float* x = o.x.as<float>();
  switch (type) {
    case WeightType::q4:
      k.matmul_q4(w, o.quantized, rows, begin, end, nullptr, y, stride);
      break;
    case WeightType::q8:
      k.matmul_q8(w, o.quantized, rows, begin, end, nullptr, y, stride);
      break;
    case WeightType::f16:
      k.matmul_f16(reinterpret_cast<const std::uint16_t*>(w), columns, x, rows, columns, begin, end, nullptr, y,
                   stride);
      break;
    case WeightType::f32:
      k.matmul_f32(reinterpret_cast<const float*>(w), columns, x, rows, columns, begin, end, nullptr, y, stride);
      break;
  }
}

void products(Context& context, WeightType type, std::size_t outputs, std::size_t columns,
              const std::vector<std::size_t>& row_counts, const std::vector<const Kernels*>& implementations) {
  const PackedMatrix matrix = random_matrix(type, outputs, columns);
  const Rotation rotation = rotate(matrix, context.options.megabytes);
  const double bytes = static_cast<double>(matrix.bytes());
  const auto read_floor = [&](std::size_t pass) {
    context.pool.run([&](std::size_t thread) {
      const auto [begin, end] = context.pool.share(matrix.groups(), thread);
      read_bytes(rotation.at(pass) + begin * matrix.group_bytes(), (end - begin) * matrix.group_bytes());
    });
  };
  const Operands operands(row_counts.back(), columns, matrix.padded_rows());
  for (const Kernels* k : implementations) {
    const bool integer = type == WeightType::q4 || type == WeightType::q8;
    const double peak = integer ? 2e-9 * measure_integer_peak(*k, context.pool) : 0.0;
    k->quantize_rows(operands.x.as<float>(), row_counts.back(), columns, columns, operands.quantized);
    for (const std::size_t rows : row_counts) {
      const auto kernel = [&](std::size_t pass) {
        context.pool.run([&](std::size_t thread) {
          const auto [begin, end] = context.pool.share(matrix.groups(), thread);
          multiply(*k, type, rotation.at(pass), columns, operands, rows, begin, end, matrix.padded_rows());
        });
      };
      const auto [ms, floor] = pass_ms(context.options.milliseconds, kernel, read_floor);
      const double ops = 2.0 * static_cast<double>(outputs * columns * rows);
      context.add(
          {type_name(type), k->name, outputs, columns, rows, ms, floor, bytes / ms / 1e6, ops / ms / 1e6, peak});
    }
  }
}

// One KV head per thread and pass, `queries` query heads on it, `rows` consecutive positions behind a full window.
void attention(Context& context, KvType type, std::size_t window, std::size_t head_dim, std::size_t queries,
               std::size_t rows, const std::vector<const Kernels*>& implementations) {
  const std::size_t element = type == KvType::f32 ? 4 : type == KvType::f16 ? 2 : 1;
  const std::size_t slots = (window + rows + kKvBlock) / kKvBlock * kKvBlock, bytes = slots * head_dim * element;
  const std::size_t scales = type == KvType::i8 ? slots * (head_dim / kKvScaleColumns) : 0, scale_bytes = scales * 4;
  const std::size_t head_bytes = 2 * (bytes + scale_bytes);
  const std::size_t heads = std::max<std::size_t>(context.pool.size(), (context.options.megabytes << 20) / head_bytes);
  AlignedBuffer rings(heads * head_bytes);  // zero keys and values: the time does not depend on them
  std::memset(rings.data(), 0, rings.bytes());
  const std::size_t lines = rows * queries, scratch = attention_scratch_floats(head_dim);
  const std::size_t per_thread = scratch + lines * head_dim;
  const std::vector<float> q(lines * head_dim, 0.1f);
  AlignedBuffer work(context.pool.size() * per_thread * 4);
  const auto head = [&](std::size_t pass, std::size_t thread) {
    return rings.data() + (pass * context.pool.size() + thread) % heads * head_bytes;
  };
  const AttentionRows in{q.data(), rows, queries, head_dim, 3 * window, 0, window, 0.1f};
  for (const Kernels* k : implementations) {
    const auto kernel = [&](std::size_t pass) {
      context.pool.run([&](std::size_t thread) {
        float* memory = work.as<float>() + thread * per_thread;
        const std::uint8_t* keys = head(pass, thread);
        const float* key_scales = reinterpret_cast<const float*>(keys + 2 * bytes);
        k->attend({keys, keys + bytes, key_scales, key_scales + scales, slots, type}, in, memory, memory + scratch);
      });
    };
    const auto floor_pass = [&](std::size_t pass) {
      context.pool.run([&](std::size_t thread) { read_bytes(head(pass, thread), head_bytes); });
    };
    const auto [ms, floor] = pass_ms(context.options.milliseconds, kernel, floor_pass);
    const double total = static_cast<double>(head_bytes * context.pool.size());
    const double ops = 4.0 * static_cast<double>(window * head_dim * lines * context.pool.size());
    const char* name = type == KvType::f32 ? "attend_f32" : type == KvType::f16 ? "attend_f16" : "attend_int8";
    context.add({name, k->name, window, head_dim, lines, ms, floor, total / ms / 1e6, ops / ms / 1e6});
  }
}

// Kernels on cached data, one thread: bytes per second are of the input.
void small(Context& context, const std::vector<const Kernels*>& implementations) {
  const std::size_t count = 9216, repeat = 20;
  const Operands o(1, count, count);
  std::vector<float> y(count, 0.5f);
  for (const Kernels* k : implementations) {
    const auto time = [&](const char* name, auto f) {
      const auto repeated = [&](std::size_t) {
        for (std::size_t i = 0; i < repeat; i++) f();
      };
      const double ms = pass_ms(context.options.milliseconds / 4, repeated, [](std::size_t) {}).first / repeat;
      context.add({name, k->name, count, 1, 1, ms, 0, static_cast<double>(count) * 4 / ms / 1e6,
                   static_cast<double>(count) / ms / 1e6});
    };
    const float* x = o.x.as<float>();
    time("quantize_rows", [&] { k->quantize_rows(x, 1, count, count, o.quantized); });
    time("rms_norm", [&] { k->rms_norm(x, x, nullptr, 1e-5f, count, y.data()); });
    time("silu_multiply", [&] { k->silu_multiply(x, x, count, y.data()); });
    time("gelu", [&] { k->gelu(y.data(), count); });
    time("logit_stats", [&] { sink += k->logit_stats(x, count).argmax; });
  }
  // What a parallel section costs when workers are awake.
  const auto sections = [&](std::size_t) {
    for (int i = 0; i < 100; i++) context.pool.run([](std::size_t) {});
  };
  const double ms = pass_ms(context.options.milliseconds, sections, [](std::size_t) {}).first;
  std::printf("an empty section of %zu threads: %.2f us\n", context.pool.size(), ms * 10);
}

void write_json(const Context& context) {
  std::FILE* file = std::fopen(context.options.json.c_str(), "w");
  if (file == nullptr) {
    std::fprintf(stderr, "cannot write %s\n", context.options.json.c_str());
    return;
  }
  std::fprintf(file, "{\"threads\": %zu, \"results\": [", context.pool.size());
  const char* separator = "\n";
  for (const Result& r : context.results) {
    std::fprintf(file,
                 "%s  {\"kernel\": \"%s\", \"isa\": \"%s\", \"outputs\": %zu, \"columns\": %zu, \"rows\": %zu, "
                 "\"ms\": %.6f, \"floor_ms\": %.6f, \"gbps\": %.3f, \"gops\": %.3f, \"peak_gops\": %.3f}",
                 separator, r.kernel.c_str(), r.isa.c_str(), r.outputs, r.columns, r.rows, r.milliseconds,
                 r.floor_milliseconds, r.gigabytes_per_second, r.gigaops, r.peak_gigaops);
    separator = ",\n";
  }
  std::fprintf(file, "\n]}\n");
  std::fclose(file);
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; i++) {
    const std::string name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (name == "--quick") {
      options.quick = true;
      continue;
    }
    if (value == nullptr) return false;
    if (name == "--threads") options.threads = std::stoul(value);
    else if (name == "--megabytes") options.megabytes = std::stoul(value);
    else if (name == "--milliseconds") options.milliseconds = std::stoul(value);
    else if (name == "--isa") options.isa = value;
    else if (name == "--json") options.json = value;
    else return false;
    i++;
  }
  return true;
}

void run(const Options& options) {
  ThreadPool pool(options.threads);
  Context context{options, pool, {}};
  std::vector<const Kernels*> implementations = available_kernels();
  if (!options.isa.empty()) implementations = {&kernels_by_name(options.isa)};
  else if (implementations.size() > 1) implementations.pop_back();  // scalar only when asked for
  std::printf("kernel        isa          outputs x columns rows  (%zu threads)\n", pool.size());
  const std::vector<std::size_t> rows =
      options.quick ? std::vector<std::size_t>{1, 16} : std::vector<std::size_t>{1, 2, 4, 8, 16, 32};
  products(context, WeightType::q4, 9216, 3072, rows, implementations);
  products(context, WeightType::q8, 9216, 3072, rows, implementations);
  if (!options.quick) {
    products(context, WeightType::q4, 3072, 9216, rows, implementations);
    products(context, WeightType::q4, 5120, 1280, rows, implementations);
    products(context, WeightType::q4, 131072, 3072, {1, 4}, implementations);
    products(context, WeightType::q8, 131072, 3072, {1, 4}, implementations);
    products(context, WeightType::f16, 3072, 3072, rows, implementations);
    products(context, WeightType::f32, 3072, 3072, rows, implementations);
  }
  for (const KvType type : {KvType::f32, KvType::f16, KvType::i8})
    for (const std::size_t rows_together : {1, 8})
      attention(context, type, 8192, 128, 4, rows_together, implementations);
  for (const KvType type : {KvType::f32, KvType::f16, KvType::i8})
    for (const std::size_t rows_together : {4, 64})
      attention(context, type, 750, 64, 1, rows_together, implementations);
  small(context, implementations);
  if (!options.json.empty()) write_json(context);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  try {
    if (!parse(argc, argv, options)) throw std::invalid_argument("options");
    run(options);
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  } catch (const std::exception&) {
    std::fprintf(stderr,
                 "usage: kernels_benchmark [--threads N] [--isa NAME] [--megabytes M] [--milliseconds T] "
                 "[--quick] [--json FILE]\n");
    return 2;
  }
  return 0;
}
