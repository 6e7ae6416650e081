// The two passes of the engine: requests do not see each other, threads and call sizes do not matter, drafts can be
// taken back. Everything bit for bit, in every precision.
#include "engine/native_engine.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "check.h"
#include "engine_testing.h"
#include "kernels/registry.h"

namespace voxtral_edge {
namespace {

using check::Numbers;
using check::TinyModel;
using check::TinyPackageOptions;

const char* const kPrecisions[] = {"fp32", "fp16", "int8", "int4"};

// One stream's whole input and, after running it, everything the engine said.
struct Script {
  std::size_t delay, tokens;
  std::vector<float> mel;
  std::vector<std::uint32_t> ids;
};

struct Output {
  std::vector<float> embeddings, frames, logits;
  std::vector<std::uint32_t> choices;
  std::vector<float> probabilities;
  bool operator==(const Output&) const = default;
};

Script make_script(const ModelConfig& c, std::size_t tokens, std::uint64_t seed) {
  Numbers numbers(seed);
  Script script{1 + numbers.below(30), tokens, {}, {}};
  script.mel.resize(tokens * c.audio.mel_frames_per_token * c.encoder.mel_bins);
  for (float& v : script.mel) v = numbers.between(-0.6f, 1.4f);
  for (std::size_t i = 0; i < tokens; ++i)
    script.ids.push_back(static_cast<std::uint32_t>(numbers.below(c.decoder.vocab_size)));
  return script;
}

Output room_for(const ModelConfig& c, std::size_t tokens) {
  return {std::vector<float>(tokens * c.decoder.width),
          std::vector<float>(tokens * c.adapter.frames_per_token * c.encoder.width),
          std::vector<float>(tokens * c.decoder.vocab_size), std::vector<std::uint32_t>(tokens),
          std::vector<float>(tokens)};
}

TinyPackageOptions package_of(const char* precision, std::uint64_t seed) {
  TinyPackageOptions options;
  options.precision = precision;
  options.seed = seed;
  return options;
}

double relative_rms(const std::vector<float>& got, const std::vector<float>& expected) {
  double difference = 0.0, size = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    difference += (static_cast<double>(got[i]) - expected[i]) * (static_cast<double>(got[i]) - expected[i]);
    size += static_cast<double>(expected[i]) * expected[i];
  }
  return std::sqrt(difference / size);
}

// How far logits may move (rms, relative) when float sums round differently: another order of summation, or rotations
// at another absolute position. fp32: 1e-7 per operation, grown by the layers. fp16: keys and values are kept in half
// precision, where a value beside a rounding border moves by 2^-11. int8, int4: activations are rounded to 1/127 of
// their block's largest, so one value beside a border moves by 0.8 % of it. The first flip moves
// the next layer's inputs by 1e-3, so soon a tenth of all roundings differ: what remains is the noise of the
// quantisation itself. Measured: 8e-7, 1.5e-4, 0.014.
double rounding_limit(const std::string& precision) {
  return precision == "fp32" ? 5e-6 : precision == "fp16" ? 1e-3 : 0.04;
}

// Runs several scripts at once, `calls[i]` tokens of stream s per call (cycling, shifted by s so that calls differ).
std::vector<Output> run_together(NativeEngine& engine, const std::vector<Script>& scripts,
                                 const std::vector<std::size_t>& calls, std::uint64_t start = 0) {
  const ModelConfig& c = engine.config();
  std::vector<std::unique_ptr<EngineState>> states;
  std::vector<Output> outputs;
  std::vector<std::size_t> done(scripts.size());
  for (const Script& script : scripts) {
    states.push_back(engine.create_state(script.delay, start));
    outputs.push_back(room_for(c, script.tokens));
  }
  for (std::size_t call = 0;; ++call) {
    std::vector<EncodeRequest> encodes;
    std::vector<DecodeRequest> decodes;
    std::vector<std::vector<TokenChoice>> choices(scripts.size());
    for (std::size_t s = 0; s < scripts.size(); ++s) {
      const std::size_t count = std::min(calls[(call + s) % calls.size()], scripts[s].tokens - done[s]);
      if (count == 0) continue;
      choices[s].resize(count);
      float* embeddings = &outputs[s].embeddings[done[s] * c.decoder.width];
      encodes.push_back({states[s].get(), &scripts[s].mel[done[s] * c.audio.mel_frames_per_token * c.encoder.mel_bins],
                         count, embeddings,
                         &outputs[s].frames[done[s] * c.adapter.frames_per_token * c.encoder.width]});
      decodes.push_back({states[s].get(), embeddings, &scripts[s].ids[done[s]], count, count, choices[s].data(),
                         &outputs[s].logits[done[s] * c.decoder.vocab_size]});
    }
    if (encodes.empty()) return outputs;
    engine.encode(encodes);
    engine.decode(decodes);
    for (std::size_t s = 0; s < scripts.size(); ++s) {
      for (const TokenChoice& choice : choices[s]) {
        outputs[s].choices[done[s]] = choice.id;
        outputs[s].probabilities[done[s]++] = choice.probability;
      }
    }
  }
}

Output run_alone(NativeEngine& engine, const Script& script, const std::vector<std::size_t>& calls,
                 std::uint64_t start = 0) {
  return run_together(engine, {script}, calls, start)[0];
}

// Positions decoded one call per entry of `counts`; logits of all of them.
std::vector<float> decode_pieces(NativeEngine& engine, const Script& script, const std::vector<float>& embeddings,
                                 const std::vector<std::size_t>& counts, const std::vector<std::size_t>& results) {
  const ModelConfig& c = engine.config();
  const auto state = engine.create_state(script.delay, 0);
  std::vector<float> logits, all(script.tokens * c.decoder.vocab_size, -1.0f);
  std::vector<TokenChoice> choices(script.tokens);
  for (std::size_t done = 0, call = 0; done < script.tokens; ++call) {
    const std::size_t count = std::min(counts[call % counts.size()], script.tokens - done);
    const std::size_t read = std::min(results[call % results.size()], count);
    const DecodeRequest request{state.get(),
                                &embeddings[done * c.decoder.width],
                                &script.ids[done],
                                count,
                                read,
                                choices.data(),
                                &all[(done + count - read) * c.decoder.vocab_size]};
    engine.decode({&request, 1});
    done += count;
  }
  return all;
}

}  // namespace

TEST("several streams in one call: each result is the one it gets alone") {
  for (const char* precision : kPrecisions) {
    const TinyModel model = check::make_model(package_of(precision, 1));
    const std::vector<Script> scripts{make_script(model.engine->config(), 90, 1),
                                      make_script(model.engine->config(), 61, 2),
                                      make_script(model.engine->config(), 33, 3)};
    // 20 tokens are 80 encoder frames: more than one pass of 64 rows, so requests are split between passes.
    const std::vector<Output> together = run_together(*model.engine, scripts, {1, 20, 3, 8, 2});
    for (std::size_t s = 0; s < scripts.size(); ++s) CHECK(together[s] == run_alone(*model.engine, scripts[s], {1}));
  }
}

TEST("the number of tokens per call does not matter") {
  for (const char* precision : kPrecisions) {
    const TinyModel model = check::make_model(package_of(precision, 2));
    const Script script = make_script(model.engine->config(), 150, 4);  // six decoder windows, thirty encoder windows
    const Output expected = run_alone(*model.engine, script, {1});
    for (const std::vector<std::size_t>& calls :
         std::vector<std::vector<std::size_t>>{{2}, {3, 1, 7}, {8}, {16}, {17, 64}, {65}, {150}}) {
      CHECK(run_alone(*model.engine, script, calls) == expected);
    }
  }
}

TEST("the number of threads does not matter") {
  for (const char* precision : kPrecisions) {
    const TinyModel model = check::make_model(package_of(precision, 3));
    const Script script = make_script(model.engine->config(), 40, 5);
    const Output expected = run_alone(*model.engine, script, {8});
    for (const std::size_t threads : {2, 3, 5}) {
      CHECK(run_alone(*check::with_engine(model, threads).engine, script, {8}) == expected);
    }
  }
}

TEST("vector kernels agree bit for bit; the scalar ones sum differently and stay close") {
  for (const char* precision : kPrecisions) {
    const TinyModel model = check::make_model(package_of(precision, 4));
    const Script script = make_script(model.engine->config(), 60, 6);
    const Output scalar = run_alone(*check::with_engine(model, 1, "scalar").engine, script, {8});
    const Output best = run_alone(*model.engine, script, {8});
    for (const Kernels* kernels : available_kernels()) {
      const Output got = run_alone(*check::with_engine(model, 1, kernels->name).engine, script, {8});
      if (std::string(kernels->name) != "scalar") CHECK(got == best);
      CHECK_NEAR(relative_rms(got.logits, scalar.logits), 0.0, rounding_limit(precision));
    }
  }
}

TEST("choices are the argmax and its softmax probability; logits on request only") {
  const TinyModel model = check::make_model(package_of("fp32", 5));
  NativeEngine& engine = *model.engine;
  const Script script = make_script(engine.config(), 30, 7);
  const Output output = run_alone(engine, script, {8});
  const std::size_t vocab = engine.config().decoder.vocab_size;
  for (std::size_t t = 0; t < script.tokens; ++t) {
    const float* row = &output.logits[t * vocab];
    const std::size_t best = static_cast<std::size_t>(std::max_element(row, row + vocab) - row);
    double sum = 0.0;
    for (std::size_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(row[v]) - row[best]);
    CHECK_EQ(output.choices[t], best);
    CHECK_NEAR(output.probabilities[t], 1.0 / sum, 1e-5);
  }
  const auto state = engine.create_state(script.delay, 0);
  std::vector<TokenChoice> choices(30);
  const DecodeRequest silent{state.get(), output.embeddings.data(), script.ids.data(), 30, 30, choices.data(), nullptr};
  engine.decode({&silent, 1});
  for (std::size_t t = 0; t < 30; ++t) CHECK_EQ(choices[t].id, output.choices[t]);
}

TEST("any number of the last positions can be read out, none included") {
  const TinyModel model = check::make_model(package_of("int4", 6));
  const Script script = make_script(model.engine->config(), 140, 8);
  const Output full = run_alone(*model.engine, script, {1});
  for (const std::vector<std::size_t>& results : std::vector<std::vector<std::size_t>>{{1}, {0, 2}, {64}, {5}}) {
    // 100 positions are two passes, and 5 results of 66 positions straddle their border.
    for (const std::vector<std::size_t>& counts : std::vector<std::vector<std::size_t>>{{9}, {100}, {66}}) {
      const std::vector<float> logits = decode_pieces(*model.engine, script, full.embeddings, counts, results);
      bool same = true;
      for (std::size_t i = 0; i < logits.size(); ++i)
        same = same && (logits[i] == -1.0f || logits[i] == full.logits[i]);
      CHECK(same);
    }
  }
}

TEST("rejected drafts leave no trace, also across ring wraps") {
  for (const char* precision : {"fp32", "int4"}) {
    const TinyModel model = check::make_model(package_of(precision, 7));
    NativeEngine& engine = *model.engine;
    const ModelConfig& c = engine.config();
    const std::size_t vocab = c.decoder.vocab_size, width = c.decoder.width;
    // Ring of 24 - 1 + 64 slots: 400 positions wrap it four times.
    const Script script = make_script(c, 400, 9);
    const Output expected = run_alone(engine, script, {1});
    const auto state = engine.create_state(script.delay, 0);
    Numbers numbers(10);
    std::vector<std::uint32_t> drafts(64);
    std::vector<TokenChoice> choices(64);
    std::vector<float> logits(vocab);
    for (std::size_t position = 0; position < script.tokens;) {
      const std::size_t most = std::min<std::size_t>(64, script.tokens - position);
      const std::size_t count = 1 + numbers.below(most);
      for (std::uint32_t& id : drafts) id = static_cast<std::uint32_t>(numbers.below(vocab));
      // The first `kept` drafts happen to be right and stay.
      const std::size_t kept = numbers.below(std::min<std::size_t>(count, 4));
      std::copy_n(&script.ids[position], kept, drafts.begin());
      const DecodeRequest draft{
          state.get(), &expected.embeddings[position * width], drafts.data(), count, count, choices.data(), nullptr};
      engine.decode({&draft, 1});
      for (std::size_t i = 0; i < kept; ++i) CHECK_EQ(choices[i].id, expected.choices[position + i]);
      engine.rewind(*state, count - kept);
      position += kept;
      if (position == script.tokens) break;
      const DecodeRequest real{
          state.get(),  &expected.embeddings[position * width], &script.ids[position], 1, 1, choices.data(),
          logits.data()};
      engine.decode({&real, 1});
      CHECK(std::equal(logits.begin(), logits.end(), &expected.logits[position * vocab]));
      ++position;
    }
  }
}

TEST("absolute positions shift nothing: 2^17, 2^31, 2^32 and beyond") {
  for (const char* precision : kPrecisions) {
    const TinyModel model = check::make_model(package_of(precision, 8));
    const Script script = make_script(model.engine->config(), 100, 11);
    const Output expected = run_alone(*model.engine, script, {8});
    for (const std::uint64_t start :
         {(1ull << 17) - 50, (1ull << 20) - 3, (1ull << 31) - 50, (1ull << 32) - 50, (1ull << 33) + 7}) {
      const Output got = run_alone(*model.engine, script, {8}, start);
      CHECK_NEAR(relative_rms(got.logits, expected.logits), 0.0, rounding_limit(precision));
    }
  }
}

TEST("half precision and int8 KV are smaller and close, never equal by accident") {
  const TinyModel model = check::make_model(package_of("fp32", 9));
  CHECK(model.engine->encoder_kv() == KvType::f32 && model.engine->decoder_kv() == KvType::f32);
  CHECK(check::make_model(package_of("int4", 1)).engine->decoder_kv() == KvType::f16);
  const Script script = make_script(model.engine->config(), 60, 12);
  const Output exact = run_alone(*model.engine, script, {8});
  struct Case {
    KvChoice choice;
    KvType type;
    double memory, tolerance;  // 2^-11 of each number, or 1/254 of the largest of 32; logits of order 10
  };
  for (const Case& c : {Case{KvChoice::f16, KvType::f16, 0.5, 0.1}, Case{KvChoice::i8, KvType::i8, 0.34, 1.0}}) {
    const TinyModel small = check::with_engine(model, 1, {}, c.choice);
    CHECK(small.engine->encoder_kv() == c.type && small.engine->decoder_kv() == c.type);
    CHECK(static_cast<double>(small.engine->state_bytes()) <=
          c.memory * static_cast<double>(model.engine->state_bytes()));
    const Output rounded = run_alone(*small.engine, script, {8});
    double worst = 0.0;
    for (std::size_t i = 0; i < exact.logits.size(); ++i)
      worst = std::max<double>(worst, std::fabs(exact.logits[i] - rounded.logits[i]));
    CHECK(worst > 0.0);
    CHECK_NEAR(worst, 0.0, c.tolerance);
  }
}

TEST("int8 KV: calls of any size and threads change nothing") {
  const TinyModel model = check::make_model(package_of("int4", 11), 1, {}, KvChoice::i8);
  const TinyModel parallel = check::with_engine(model, 3, {}, KvChoice::i8);
  const Script script = make_script(model.engine->config(), 90, 13);
  const Output expected = run_alone(*model.engine, script, {1});
  CHECK(run_alone(*model.engine, script, {3, 1, 8, 16}) == expected);
  CHECK(run_alone(*parallel.engine, script, {5}) == expected);
}

TEST("the delay changes the decoder and only the decoder") {
  const TinyModel model = check::make_model(package_of("fp32", 10));
  Script script = make_script(model.engine->config(), 20, 13);
  script.delay = 1;
  const Output one = run_alone(*model.engine, script, {4});
  script.delay = 30;
  const Output thirty = run_alone(*model.engine, script, {4});
  CHECK(one.embeddings == thirty.embeddings);
  CHECK(one.logits != thirty.logits);
}

TEST("unknown kernels are wrong usage") {
  const TinyModel model = check::make_model();
  CHECK_THROWS_CODE(check::with_engine(model, 1, "bogus"), ErrorCode::usage);
}

}  // namespace voxtral_edge

CHECK_MAIN()
