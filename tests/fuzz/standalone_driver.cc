// Runs a fuzz target without libFuzzer: deterministic mutations of its seeds, for plain builds and sanitizers.
//
//   NAME [ITERATIONS [SEED [FIRST]]]    mutated inputs FIRST .. FIRST + ITERATIONS - 1 of that seed
//   NAME --file PATH…                   exactly these inputs (a crash that libFuzzer saved)
//   NAME --write-seeds FOLDER           the seeds as files: a first corpus for libFuzzer
//
// Each iteration depends on SEED and its number only. Whatever ends the process prints the number, and
// `NAME 1 SEED NUMBER` runs that input alone.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>

#include "fuzz_target.h"
#include "random_choices.h"

// Present when a sanitizer is linked in; called before it ends the process.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

using voxtral_edge::check::RandomChoices;

constexpr std::size_t kMostBytes = std::size_t{1} << 20;

std::uint64_t current_seed = 0, current_iteration = 0;

void report() {
  std::fprintf(stderr, "while running iteration %llu of seed %llu\n",
               static_cast<unsigned long long>(current_iteration), static_cast<unsigned long long>(current_seed));
}

void on_abort(int) {
  report();
  std::_Exit(1);
}

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

// One random edit. Edits of the text's own pieces (copy, swap, delete) keep more of its structure than random bytes.
void mutate(std::string& text, const std::vector<std::string>& words, const std::string& other, RandomChoices& random) {
  const std::size_t at = random.below(text.size() + 1);
  const std::size_t length = std::min<std::size_t>(text.size() - at, 1 + random.below(random.below(4) == 0 ? 256 : 8));
  switch (random.below(9)) {
    case 0:
      if (length > 0) text[at] ^= static_cast<char>(1 << random.below(8));
      break;
    case 1:
      if (length > 0) text[at] = static_cast<char>(random.below(256));
      break;
    case 2:
      text.erase(at, length);
      break;
    case 3:
      text.insert(at, text.substr(at, length));
      break;
    case 4:
      text.replace(at, length, words[random.below(words.size())]);
      break;
    case 5:
      text.insert(at, words[random.below(words.size())]);
      break;
    case 6:
      text.resize(at);
      break;
    case 7: {
      const std::size_t from = random.below(other.size() + 1);
      text.replace(at, length, other.substr(from, 1 + random.below(64)));
      break;
    }
    default: {  // a whole number becomes another one: the edit that reaches deepest into a manifest
      const std::size_t begin = text.find_first_of("0123456789", at);
      if (begin == std::string::npos) break;
      const std::size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
      text.replace(begin, end - begin,
                   random.below(2) == 0 ? std::to_string(random.below(100)) : words[random.below(words.size())]);
    }
  }
}

int run_files(int count, char** paths) {
  for (int i = 0; i < count; ++i) {
    std::ifstream in(paths[i], std::ios::binary);
    run({std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()});
  }
  std::printf("%d files\n", count);
  return 0;
}

int write_seeds(const std::string& folder) {
  std::size_t number = 0;
  for (const std::string& seed : voxtral_edge::fuzz::seeds()) {
    std::ofstream(folder + "/seed" + std::to_string(number++), std::ios::binary) << seed;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--file") == 0) return run_files(argc - 2, argv + 2);
  if (argc > 2 && std::strcmp(argv[1], "--write-seeds") == 0) return write_seeds(argv[2]);
  const std::uint64_t iterations = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
  current_seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const std::uint64_t first = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 0;
  std::signal(SIGABRT, on_abort);  // std::terminate ends here, too
  if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(report);
  const std::vector<std::string> seeds = voxtral_edge::fuzz::seeds(), words = voxtral_edge::fuzz::dictionary();
  for (const std::string& seed : seeds) run(seed);
  for (current_iteration = first; current_iteration < first + iterations; ++current_iteration) {
    RandomChoices random(current_seed * 0x9E3779B97F4A7C15u + current_iteration);
    std::string text = seeds[random.below(seeds.size())];
    const std::string& other = seeds[random.below(seeds.size())];
    for (std::uint64_t edits = 1 + random.below(4); edits > 0; --edits) mutate(text, words, other, random);
    if (text.size() > kMostBytes) text.resize(kMostBytes);
    run(text);
  }
  std::printf("%llu mutated inputs of %zu seeds\n", static_cast<unsigned long long>(iterations), seeds.size());
  return 0;
}
