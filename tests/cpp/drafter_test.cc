// Drafts of the next tokens: from the text's own repetitions, from the audio, and which of the two is trusted.
#include "decode/drafter.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "check.h"
#include "random_choices.h"

using namespace voxtral_edge;

namespace {

constexpr std::uint32_t kPad = 32, kWord = 33;
constexpr std::size_t kWidth = 20;  // no multiple of the eight sums
constexpr double kFree[] = {1.0};   // rows cost nothing

// Embeddings [positions][kWidth] of noise in which half of the values tell where words end, and the marks that follow
// from it `delay` positions later.
struct Audio {
  std::vector<float> embeddings;
  std::vector<bool> marks;

  Audio(std::size_t positions, std::size_t delay, bool tells) : embeddings(positions * kWidth), marks(positions) {
    check::RandomChoices numbers(7);
    std::vector<bool> ends(positions);
    for (std::size_t p = 0; p < positions; ++p) {
      for (std::size_t i = 0; i < kWidth; ++i) {
        embeddings[p * kWidth + i] = 0.01f * static_cast<float>(numbers.below(200));
      }
      ends[p] = numbers.below(6) == 0;
      for (std::size_t i = 0; tells && ends[p] && i < kWidth; i += 2) embeddings[p * kWidth + i] += 1.5f;
      marks[p] = p >= delay && ends[p - delay];
    }
  }
  const float* at(std::size_t position) const { return &embeddings[position * kWidth]; }
};

}  // namespace

TEST("marks are learned from the frame that ended the word, at any delay") {
  for (const std::size_t delay : {1u, 2u, 6u, 30u}) {
    const Audio audio(3000, delay, true);
    MarkPredictor predictor(kWidth, delay, 9);
    predictor.reset(0);
    int wrong = 0;
    for (std::size_t p = 0; p < 3000; ++p) {
      predictor.hear(audio.at(p), 1);
      const float odds = predictor.log_odds(p);
      if (p >= 2000) wrong += (odds > 0.0f) != audio.marks[p] ? 1 : 0;
      predictor.learn(p, odds, audio.marks[p]);
    }
    CHECK(wrong <= 20);  // of 1000; guessing "no mark" gives about 167
  }
}

TEST("guesses do not depend on how far ahead the audio was heard") {
  const Audio audio(600, 6, true);
  std::vector<float> expected;
  for (const std::size_t piece : {1u, 3u, 8u}) {
    MarkPredictor predictor(kWidth, 6, 8);
    predictor.reset(1000);
    for (std::size_t p = 0; p < 600; ++p) {
      if (p % piece == 0) predictor.hear(audio.at(p), std::min(piece, 600 - p));
      predictor.learn(1000 + p, predictor.log_odds(1000 + p), audio.marks[p]);
    }
    if (piece == 1) expected.assign(1, predictor.log_odds(1599));
    // Mean and variance may be ahead by some frames: the same guess, not the same bits.
    CHECK_NEAR(predictor.log_odds(1599), expected[0], 0.2);
  }
}

TEST("numbers that are none, and what was before, are forgotten") {
  MarkPredictor predictor(kWidth, 6, 8);
  const float untaught = predictor.log_odds(0);
  CHECK(untaught < 0.0f);
  std::vector<float> frame(kWidth, 1.0f);
  predictor.hear(frame.data(), 1);
  predictor.learn(0, std::numeric_limits<float>::quiet_NaN(), true);
  CHECK_EQ(predictor.log_odds(0), untaught);
  for (int i = 0; i < 50; ++i) predictor.learn(0, predictor.log_odds(0), true);
  CHECK(predictor.log_odds(0) > untaught);
  predictor.reset(17);
  CHECK_EQ(predictor.log_odds(17), untaught);
}

TEST("embeddings that are no numbers or beyond all bounds cost one guess each, not the rest of the stream") {
  const Audio audio(3000, 6, true);
  Drafter drafter({kPad, kWord, kWidth, 6, 9, 8, kFree});
  drafter.reset(0);
  MarkPredictor predictor(kWidth, 6, 9);
  predictor.reset(0);
  std::vector<std::uint32_t> drafts(8);
  int wrong = 0;
  for (std::size_t p = 0; p < 3000; ++p) {
    std::vector<float> frame(audio.at(p), audio.at(p) + kWidth);
    if (p % 500 == 7) frame[3] = std::numeric_limits<float>::quiet_NaN();
    if (p % 500 == 8) frame[4] = std::numeric_limits<float>::infinity();
    if (p % 500 == 9) frame[5] = -1e30f;
    predictor.hear(frame.data(), 1);
    drafter.hear(frame.data(), 1);
    CHECK(drafter.propose(p, std::span(drafts).first(1)) <= 1);
    const float odds = predictor.log_odds(p);
    CHECK(std::isfinite(odds));
    if (p >= 2000) wrong += (odds > 0.0f) != audio.marks[p] ? 1 : 0;
    predictor.learn(p, odds, audio.marks[p]);
    drafter.learn(audio.marks[p] ? kWord : kPad, p);
  }
  CHECK(wrong <= 40);  // of 1000, of which about 12 see a frame that is missing
}

TEST("the audio decides where it is right about marks and the text is not, and only about marks") {
  for (const bool tells : {true, false}) {
    const Audio audio(4000, 6, tells);
    Drafter drafter({kPad, kWord, kWidth, 6, 16, 12, kFree});
    drafter.reset(0);
    std::uint32_t last = kPad;
    int marks = 0, found = 0, wrong = 0, pads_behind_marks = 0;
    for (std::size_t p = 0; p < 4000; ++p) {
      drafter.hear(audio.at(p), 1);
      std::uint32_t draft[1];
      CHECK_EQ(drafter.propose(p, draft), 1u);
      const bool mark = audio.marks[p] && last != kWord;
      const std::uint32_t id = last == kWord ? 100 : (mark ? kWord : kPad);
      if (p >= 2000) {
        marks += mark ? 1 : 0;
        found += mark && draft[0] == kWord ? 1 : 0;
        wrong += !mark && draft[0] == kWord ? 1 : 0;
        pads_behind_marks += last == kWord && draft[0] != 100 ? 1 : 0;
      }
      drafter.learn(id, p);
      last = id;
    }
    CHECK(marks > 150);
    CHECK_EQ(pads_behind_marks, 0);  // text follows every mark here: the table knows
    if (tells) {
      CHECK(found > marks * 9 / 10 && wrong < marks / 10);
    } else {
      CHECK(wrong < marks);  // noise is not taken for knowledge
    }
  }
}

TEST("a text that repeats is guessed from the text, whatever the audio says") {
  const Audio audio(2000, 6, false);
  const std::vector<std::uint32_t> cycle = {kPad, kPad, kWord, 100, 101, kPad, kWord, 102};
  Drafter drafter({kPad, kWord, kWidth, 6, 16, 12, kFree});
  drafter.reset(0);
  for (std::size_t p = 0; p < 1000; ++p) {
    drafter.hear(audio.at(p), 1);
    drafter.learn(cycle[p % cycle.size()], p);
  }
  drafter.hear(audio.at(1000), 12);
  std::vector<std::uint32_t> drafts(12);
  CHECK_EQ(drafter.propose(1000, drafts), 12u);
  for (std::size_t i = 0; i < drafts.size(); ++i) CHECK_EQ(drafts[i], cycle[(1000 + i) % cycle.size()]);
}

TEST("lengths follow from chances and costs") {
  const std::vector<float> sure(15, 1.0f), coin(15, 0.5f), never(15, 0.0f);
  const double flat[] = {1.0}, linear[] = {1.0, 2.0}, kinked[] = {1.0, 1.0, 1.0, 1.0, 2.0};
  DraftLength free(flat), dear(linear), both(kinked);
  const auto seconds = [](std::size_t rows, double first, std::size_t cheap) {
    return first * (rows <= cheap ? 1.0 : static_cast<double>(1 + rows - cheap));
  };
  for (int pass = 0; pass < 300; ++pass) {
    const std::size_t a = free.best(coin) + 1, b = dear.best(coin) + 1, c = both.best(coin) + 1;
    free.passed(a, 2, 0.01);
    dear.passed(b, 2, seconds(b, 0.01, 1));
    both.passed(c, 2, seconds(c, 0.01, 4));
  }
  CHECK_EQ(free.best(never), 15u);
  CHECK_EQ(dear.best(coin), 0u);  // a row costs what a token costs
  CHECK_EQ(both.best(coin), 3u);  // rows beyond the fourth cost two tokens
  CHECK_EQ(both.best(sure), 3u);
  CHECK_EQ(both.best({}), 0u);
  const double gentle[] = {1.0, 1.1};
  DraftLength length(gentle);
  for (int pass = 0; pass < 300; ++pass) {
    const std::size_t rows = length.best(coin) + 1;
    length.passed(rows, 2, 1.0 + 0.1 * static_cast<double>(rows - 1));
  }
  CHECK(length.best(coin) >= 2 && length.best(coin) <= 5);
  CHECK_EQ(length.best(sure), 15u);
  length.reset();
  CHECK_EQ(DraftLength(gentle).best(coin), length.best(coin));
}

TEST("the passes' own times correct the costs; one that was interrupted says little") {
  const std::vector<float> likely(15, 0.8f);
  const double wrong[] = {1.0, 1.2, 1.4, 1.6};  // measured while the machine was busy
  check::RandomChoices numbers(3);
  for (const bool free : {true, false}) {
    DraftLength length(wrong);
    const std::size_t at_first = length.best(likely);
    std::size_t last = 0;
    for (int pass = 0; pass < 400; ++pass) {
      const std::vector<float> chances(4 + numbers.below(12), 0.1f * static_cast<float>(5 + numbers.below(6)));
      const std::size_t rows = length.best(chances) + 1;
      const double time = free ? 0.04 + 0.001 * static_cast<double>(rows) : 0.02 * static_cast<double>(rows);
      length.passed(rows, std::min<std::size_t>(rows, 4), pass % 30 == 7 ? 50 * time : time);
      if (pass >= 200) last += length.best(likely);
    }
    if (free) CHECK(last > 200 * at_first + 100);
    else CHECK(last < 200 * at_first);
  }
}

TEST("a drafter that was reset guesses as a new one") {
  const double costs[] = {1.0, 1.3};
  const Drafter::Shape shape{kPad, kWord, kWidth, 6, 16, 8, costs};
  Drafter used(shape), fresh(shape);
  const Audio audio(600, 6, true);
  const auto run = [&](Drafter& drafter, std::size_t period) {
    drafter.reset(0);
    std::vector<std::vector<std::uint32_t>> guesses;
    std::vector<std::uint32_t> drafts(8);
    for (std::size_t p = 0; p < 600; ++p) {
      if (p % 8 == 0) drafter.hear(audio.at(p), 8);
      const std::size_t count = drafter.propose(p, {drafts.data(), 8 - p % 8});
      guesses.emplace_back(drafts.begin(), drafts.begin() + static_cast<std::ptrdiff_t>(count));
      drafter.passed(count + 1, 1 + count / 2, 0.01 * static_cast<double>(period + count));
      drafter.learn(p % period == 0 ? 100 + static_cast<std::uint32_t>(p % 7) : audio.marks[p] ? kWord : kPad, p);
    }
    return guesses;
  };
  run(used, 2);  // text that is never what was guessed, and another machine
  CHECK(run(used, 9) == run(fresh, 9));
}

TEST("guesses of a kind that is often wrong are not drafted where rows cost, and are again once they are right") {
  const double costs[] = {1.0, 1.5};
  Drafter drafter({kPad, kWord, kWidth, 6, 16, 8, costs});
  drafter.reset(0);
  check::RandomChoices numbers(5);
  const std::vector<float> silence(kWidth * 2000, 0.5f);
  std::vector<std::uint32_t> drafts(8);
  std::size_t at_start = 0, in_noise = 0, in_silence = 0;
  for (std::size_t p = 0; p < 1200; ++p) {
    if (p % 8 == 0) drafter.hear(silence.data(), 8);
    const std::size_t count = drafter.propose(p, drafts);
    drafter.passed(count + 1, 1 + (p < 600 ? 0 : count), 1.0 + 0.5 * static_cast<double>(count));
    if (p < 1) at_start = count;
    if (p >= 500 && p < 600) in_noise += count;
    if (p >= 1100) in_silence += count;
    drafter.learn(p < 600 ? static_cast<std::uint32_t>(100 + numbers.below(500)) : kPad, p);
  }
  CHECK(at_start > 0);
  CHECK(in_noise < 20);
  CHECK(in_silence > 700);
}

CHECK_MAIN()
