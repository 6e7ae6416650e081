// Streams on one engine from several threads give what each gives alone. Run under ThreadSanitizer, too.
#include <thread>
#include <vector>

#include "check.h"
#include "engine_testing.h"

namespace voxtral_edge {
namespace {

using check::TinyModel;
using check::Transcription;

struct Job {
  StreamOptions options;
  std::vector<float> audio;
  std::vector<std::size_t> pieces;
};

std::vector<Job> make_jobs(std::size_t count) {
  std::vector<Job> jobs;
  for (std::size_t j = 0; j < count; ++j) {
    check::Numbers numbers(j + 1);
    Job job;
    job.options.delay_tokens = 1 + 3 * j % 30;
    job.options.max_batch_tokens = 1 + j % 8;
    job.options.start_token_position = j % 2 == 0 ? 0 : (std::uint64_t{1} << 31) - 20;
    job.audio = check::synthetic_audio(16000 + 7 * numbers.below(4000), j + 5);
    for (std::size_t i = 0; i < 40; ++i) job.pieces.push_back(1 + numbers.below(3000));
    jobs.push_back(std::move(job));
  }
  return jobs;
}

TinyModel make_model(const char* precision, std::size_t threads = 1) {
  check::TinyPackageOptions options;
  options.precision = precision;
  return check::make_model(options, threads);
}

void run_in_threads(const TinyModel& model, std::size_t count, bool twice) {
  const std::vector<Job> jobs = make_jobs(count);
  std::vector<Transcription> expected, got(count);
  for (const Job& job : jobs) expected.push_back(check::transcribe(model, job.options, job.audio, job.pieces));
  std::vector<std::thread> threads;
  for (std::size_t j = 0; j < count; ++j) {
    threads.emplace_back([&, j] {
      Stream stream(model.engine, model.tokenizer, jobs[j].options);
      if (twice) {  // reset while others compute
        Events ignored;
        stream.feed(std::span(jobs[j].audio).first(5000), ignored);
        stream.reset();
      }
      got[j] = check::transcribe(stream, jobs[j].audio, jobs[j].pieces);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t j = 0; j < count; ++j) check::check_same(got[j], expected[j]);
}

}  // namespace

TEST("two streams, two threads, one engine of one thread") {
  for (const char* precision : {"fp32", "int4"}) run_in_threads(make_model(precision), 2, false);
}

TEST("two streams, two threads, one engine of two threads") {
  for (const char* precision : {"fp16", "int8"}) run_in_threads(make_model(precision, 2), 2, false);
}

TEST("eight streams with resets") { run_in_threads(make_model("int4", 2), 8, true); }

TEST("two engines on one package at once") {
  const TinyModel first = make_model("int8");
  const TinyModel second = check::with_engine(first, 2);
  const std::vector<float> audio = check::synthetic_audio(20000, 3);
  StreamOptions options;
  options.delay_tokens = 3;
  const Transcription expected = check::transcribe(first, options, audio);
  Transcription one, two;
  std::thread a([&] { one = check::transcribe(first, options, audio); });
  std::thread b([&] { two = check::transcribe(second, options, audio); });
  a.join();
  b.join();
  check::check_same(one, expected);
  check::check_same(two, expected);
}

}  // namespace voxtral_edge

CHECK_MAIN()
