// Contextual biasing: bonuses along a prefix tree, and the limits that keep a list from breaking the rest.
#include "decode/bias.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "check.h"

namespace {
long allocations = 0;
}

// Not inlined: GCC 12 then takes free for the wrong partner of new.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

using namespace voxtral_edge;

namespace {

constexpr std::size_t kVocabulary = 100;

std::shared_ptr<const BiasTree> tree(const std::vector<BiasSpelling>& spellings) {
  return std::make_shared<const BiasTree>(spellings);
}

// Logits that are 0 but at the given tokens.
std::vector<float> logits(const std::vector<std::pair<std::uint32_t, float>>& set) {
  std::vector<float> values(kVocabulary, 0.0f);
  for (const auto& [id, value] : set) values[id] = value;
  return values;
}

// The choice where hardly anything besides the best and the listed token is likely.
TokenChoice choose(const Biaser& biaser, std::uint32_t best, const std::vector<float>& values, bool started = true) {
  return biaser.choose({best, 0.99f}, values.data(), started);
}

// What the usage error of a refused list says.
std::string refusal(const std::vector<BiasSpelling>& spellings) {
  try {
    tree(spellings);
  } catch (const Error& error) {
    CHECK_EQ(error.code(), ErrorCode::usage);
    return error.what();
  }
  return "(none)";
}

}  // namespace

TEST("a listed token wins when it is within its bonus of the best, and only then") {
  const Biaser biaser(tree({{{10}, {2.0f}, false}}));
  CHECK_EQ(choose(biaser, 20, logits({{20, 5.0f}, {10, 3.5f}})).id, 10u);
  CHECK_EQ(choose(biaser, 20, logits({{20, 5.0f}, {10, 2.5f}})).id, 20u);
  CHECK_EQ(choose(biaser, 10, logits({{10, 5.0f}, {20, 3.0f}})).id, 10u);
}

TEST("the probability is the model's own for the token that is taken") {
  const Biaser biaser(tree({{{10}, {2.0f}, false}}));
  CHECK_NEAR(choose(biaser, 20, logits({{20, 5.0f}, {10, 4.0f}})).probability, 0.99f * std::exp(-1.0f), 1e-6f);
  CHECK_NEAR(choose(biaser, 20, logits({{20, 5.0f}})).probability, 0.99f, 1e-6f);
}

TEST("a bonus decides between two candidates, not among many") {
  const Biaser biaser(tree({{{10}, {1.0f}, false}, {{20}, {1.0f}, false}, {{11}, {5.0f}, false}}));
  const std::vector<float> values = logits({{30, 5.0f}, {10, 4.5f}, {11, 1.0f}});
  const auto with = [&](float best) { return biaser.choose({30, best}, values.data(), true); };
  // The listed token has 0.607 of the best one's probability: at 0.60 all others share 0.036, a 27th of what it has
  // with its bonus (0.99); at 0.50 they share 0.197, a 4th.
  CHECK_EQ(with(0.60f).id, 10u);
  CHECK_EQ(with(0.50f).id, 30u);
  // Where the model's own choice is listed too, equal bonuses leave it.
  const std::vector<float> both = logits({{20, 5.0f}, {10, 4.5f}});
  CHECK_EQ(biaser.choose({20, 0.6f}, both.data(), true).id, 20u);
  // With its bonus: 1.36 against 8 * 0.49 of the others, then 2.17 against 8 * 0.19.
  const std::vector<float> far = logits({{30, 5.0f}, {11, 1.0f}});
  CHECK_EQ(biaser.choose({30, 0.5f}, far.data(), true).id, 30u);
  CHECK_EQ(biaser.choose({30, 0.8f}, far.data(), true).id, 11u);
}

TEST("continuations gain only behind their prefix; other text ends the phrase; a new one may begin at any token") {
  Biaser biaser(tree({{{10, 11, 12}, {1.0f, 2.0f, 3.0f}, false}}));
  const std::vector<float> near = logits({{20, 5.0f}, {11, 3.5f}, {12, 2.5f}, {10, 3.0f}});
  CHECK_EQ(choose(biaser, 20, near).id, 20u);
  biaser.advance(10, true);
  CHECK_EQ(choose(biaser, 20, near).id, 11u);
  biaser.advance(11, true);
  CHECK_EQ(choose(biaser, 20, near).id, 12u);
  biaser.advance(30, true);
  CHECK_EQ(choose(biaser, 20, near).id, 20u);
  biaser.advance(10, true);
  biaser.advance(10, true);  // the phrase begins again on top of itself
  CHECK_EQ(choose(biaser, 20, near).id, 11u);
  biaser.reset();
  CHECK_EQ(choose(biaser, 20, near).id, 20u);
}

TEST("where spellings share a prefix the larger bonus counts, whatever their order") {
  const BiasSpelling weak{{10, 11}, {1.0f, 1.0f}, false}, strong{{10, 12}, {3.0f, 3.0f}, false};
  for (const auto& list : {std::vector{weak, strong}, std::vector{strong, weak}}) {
    const Biaser biaser(tree(list));
    CHECK_EQ(choose(biaser, 20, logits({{20, 5.0f}, {10, 2.5f}})).id, 10u);
  }
}

TEST("an opening is possible only as the first text, unless the same tokens may also stand elsewhere") {
  const std::vector<float> near = logits({{20, 5.0f}, {10, 4.0f}, {11, 4.0f}});
  Biaser biaser(tree({{{10, 11}, {2.0f, 2.0f}, true}}));
  CHECK_EQ(choose(biaser, 20, near, false).id, 10u);
  CHECK_EQ(choose(biaser, 20, near, true).id, 20u);
  biaser.advance(10, true);  // written in the middle of a text: not the phrase
  CHECK_EQ(choose(biaser, 20, near, true).id, 20u);
  biaser.reset();
  biaser.advance(10, false);
  CHECK_EQ(choose(biaser, 20, near, true).id, 11u);
  const BiasSpelling first{{10}, {2.0f}, true}, later{{10}, {2.0f}, false};
  for (const auto& list : {std::vector{first, later}, std::vector{later, first}}) {
    const Biaser anywhere(tree(list));
    CHECK_EQ(choose(anywhere, 20, near, true).id, 10u);
  }
}

TEST("a token without bonus opens the way to its continuations and wins nothing itself") {
  Biaser biaser(tree({{{10, 11}, {0.0f, 2.0f}, false}}));
  const std::vector<float> near = logits({{20, 5.0f}, {10, 4.999f}, {11, 4.0f}});
  CHECK_EQ(choose(biaser, 20, near).id, 20u);
  biaser.advance(10, true);
  CHECK_EQ(choose(biaser, 20, near).id, 11u);
}

TEST("steps allocate nothing, however many phrases are under way at once") {
  std::vector<BiasSpelling> spellings;
  for (std::size_t length = 1; length <= 40; ++length) {  // "a", "aa", "aaa", ...: every suffix is under way
    spellings.push_back({std::vector<std::uint32_t>(length, 10), std::vector<float>(length, 1.0f), length % 2 == 0});
    spellings.push_back({{10, static_cast<std::uint32_t>(length + 50)}, {1.0f, 1.0f}, false});
  }
  Biaser biaser(tree(spellings));
  const std::vector<float> values = logits({{20, 1.5f}, {10, 1.0f}});
  const long before = allocations;
  std::uint32_t taken = 0;
  for (int step = 0; step < 2000; ++step) {
    const TokenChoice choice = choose(biaser, 20, values, step > 0);
    biaser.advance(step % 97 == 0 ? 33 : choice.id, step > 0);
    taken += choice.id == 10 ? 1 : 0;
    if (step % 501 == 0) biaser.reset();
  }
  CHECK_EQ(allocations, before);
  CHECK_EQ(taken, 2000u);
}

TEST("refusals: no tokens, bonuses that do not match, are negative, too large or not numbers, too many tokens") {
  CHECK(refusal({{{}, {}, false}}).find("no tokens") != std::string::npos);
  CHECK(refusal({{{1, 2}, {1.0f}, false}}).find("2 tokens but 1 bonuses") != std::string::npos);
  for (const float bonus : {-0.5f, 20.5f, std::numeric_limits<float>::quiet_NaN()}) {
    CHECK(refusal({{{1}, {bonus}, false}}).find("0 .. 20") != std::string::npos);
  }
  const std::vector<std::uint32_t> endless(BiasTree::kMaxNodes, 1);
  const std::vector<float> bonuses(endless.size(), 1.0f);
  CHECK(refusal({{endless, bonuses, false}}).find("fewer phrases") != std::string::npos);
}

CHECK_MAIN()
