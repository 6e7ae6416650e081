// The penalty on long runs of pads: it ends a rut, leaves true silence alone, and is the same with and without drafts.
#include "decode/pad_run.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "check.h"
#include "engine/stream.h"
#include "engine_testing.h"
#include "scripted_engine.h"

namespace voxtral_edge {
namespace {

constexpr std::uint32_t kPad = 32;
constexpr std::size_t kVocabulary = 100;

std::vector<float> leading_by(float lead) {
  std::vector<float> logits(kVocabulary, 0.0f);
  logits[50] = 4.0f;
  logits[kPad] = 4.0f + lead;
  return logits;
}

PadRun after_pads(std::size_t count, PadRunPenalty penalty = {}) {
  PadRun run(penalty, kPad);
  for (std::size_t i = 0; i < count; ++i) run.advance(kPad);
  return run;
}

std::uint32_t choice(const PadRun& run, float lead) {
  return run.choose({kPad, 0.5f}, leading_by(lead).data(), kVocabulary).id;
}

// Token ids of a stream of a model that would say nothing but pads, 40 s long; the letter 'a' is second by `lead`.
std::vector<std::uint32_t> ids_of(float lead, std::size_t drafts, std::optional<PadRunPenalty> penalty) {
  static const check::TinyModel model = check::make_model();
  const ModelConfig& config = model.engine->config();
  const std::uint32_t pad = config.tokens.streaming_pad;
  auto engine = std::make_shared<check::ScriptedEngine>(config, [pad](std::uint64_t) { return pad; });
  engine->logits = [&](std::uint64_t, float* row) {
    std::fill_n(row, config.decoder.vocab_size, 0.0f);
    row[pad] = 10.0f;
    row[config.tokens.special_count + 'a'] = 10.0f - lead;
  };
  StreamOptions options;
  options.delay_tokens = 6;
  options.max_drafts = drafts;
  options.pad_run_penalty = penalty;
  Stream stream(engine, model.tokenizer, options);
  check::transcribe(stream, std::vector<float>(500 * 1280, 0.1f));
  return stream.token_ids();
}

}  // namespace

TEST("up to 200 pads the model's choice stands; then the pad loses half a logit per token, 7 at most") {
  CHECK_EQ(choice(after_pads(199), 0.1f), kPad);
  CHECK_EQ(choice(after_pads(200), 0.6f), kPad);
  CHECK_EQ(choice(after_pads(200), 0.4f), 50u);
  CHECK_EQ(choice(after_pads(211), 6.1f), kPad);
  CHECK_EQ(choice(after_pads(212), 6.1f), 50u);
  CHECK_EQ(choice(after_pads(213), 6.9f), 50u);
  CHECK_EQ(choice(after_pads(100000), 7.1f), kPad);
}

TEST("only a pad is moved, and any other token ends the run") {
  PadRun run = after_pads(1000);
  CHECK_EQ(run.choose({50, 0.5f}, leading_by(-1.0f).data(), kVocabulary).id, 50u);
  run.advance(50);
  CHECK_EQ(choice(run, 0.1f), kPad);
  CHECK(!run.wants_logits(200));
  CHECK(run.wants_logits(201));
}

TEST("the probability is the model's own for the token that is taken") {
  const TokenChoice taken = after_pads(300).choose({kPad, 0.5f}, leading_by(2.0f).data(), kVocabulary);
  CHECK_NEAR(taken.probability, 0.5f * std::exp(-2.0f), 1e-6f);
}

TEST("numbers that are negative or not finite are refused") {
  CHECK_THROWS_CODE(PadRun({200, -1.0f, 7.0f}, kPad), ErrorCode::usage);
  CHECK_THROWS_CODE(PadRun({200, 0.5f, std::numeric_limits<float>::infinity()}, kPad), ErrorCode::usage);
}

TEST("a stream in a rut speaks after 16 s, one in true silence does not, and drafts change nothing") {
  const std::vector<std::uint32_t> rut = ids_of(5.0f, 0, PadRunPenalty{});
  const auto text = std::find_if(rut.begin(), rut.end(), [](std::uint32_t id) { return id > 99; });
  CHECK_EQ(text - rut.begin(), 210);  // the first where half a logit per token exceeds 5: a tie stays a pad
  CHECK(std::find_if(text + 1, rut.end(), [](std::uint32_t id) { return id > 99; }) - text == 211);
  CHECK(ids_of(5.0f, 7, PadRunPenalty{}) == rut);
  for (const auto& silent : {ids_of(8.5f, 0, PadRunPenalty{}), ids_of(5.0f, 7, std::nullopt)}) {
    CHECK(std::count(silent.begin(), silent.end(), silent.front()) == static_cast<std::ptrdiff_t>(silent.size()));
  }
}

}  // namespace voxtral_edge

CHECK_MAIN()
