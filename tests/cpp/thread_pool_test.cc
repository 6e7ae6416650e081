// ThreadPool: every thread runs every section once, sections are ordered, and parking loses no wake-up.
#include "base/thread_pool.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check.h"

using namespace voxtral_edge;

namespace {

// Runs `sections` tiny sections; each thread counts its own calls and reads what the caller wrote before.
void run_sections(ThreadPool& pool, int sections, int pause_every) {
  std::vector<long> calls(pool.size() * 16);  // 16 apart: no shared cache line
  long expected = 0;
  std::atomic<long> wrong{0};
  for (int i = 0; i < sections; i++) {
    expected = i;
    pool.run([&](std::size_t thread) {
      if (calls[thread * 16] != expected) wrong.fetch_add(1);
      calls[thread * 16]++;
    });
    if (pause_every != 0 && i % pause_every == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  CHECK_EQ(wrong.load(), 0L);
  for (std::size_t t = 0; t < pool.size(); t++) CHECK_EQ(calls[t * 16], static_cast<long>(sections));
}

}  // namespace

TEST("many tiny sections") {
  for (const std::size_t threads : {1, 2, 3, 4}) {
    ThreadPool pool(threads);
    CHECK_EQ(pool.size(), threads);
    run_sections(pool, 20000, 0);
  }
}

TEST("workers that parked wake up") {
  ThreadPool pool(3);
  run_sections(pool, 400, 2);
}

TEST("more threads than cores") {
  ThreadPool pool(4 * std::thread::hardware_concurrency() + 1);
  run_sections(pool, 300, 0);
}

TEST("two pools at once") {
  const auto work = [] {
    ThreadPool pool(3);
    for (int i = 0; i < 5; i++) run_sections(pool, 1000, 100);
  };
  std::thread other(work);
  work();
  other.join();
}

TEST("a slow worker: the caller sleeps instead of burning its core, and still sees the result") {
  ThreadPool pool(2);
  int value = 0;
  pool.run([&](std::size_t thread) {
    if (thread == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      value = 7;
    }
  });
  CHECK_EQ(value, 7);
}

TEST("pieces cover every item once, whoever takes them") {
  for (const std::size_t threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    for (const std::size_t count : {0, 1, 2, 7, 64, 1000}) {
      for (const std::size_t least : {1, 3, 16}) {
        const std::size_t most = 2 * least;
        std::vector<std::atomic<int>> taken(count);
        std::atomic<int> wrong{0};
        pool.run_pieces(count, least, most, [&](std::size_t thread, std::size_t begin, std::size_t end) {
          if (thread >= threads || begin >= end || end > count || end - begin > most) wrong.fetch_add(1);
          for (std::size_t i = begin; i < end; ++i) taken[i].fetch_add(1);
        });
        for (const auto& times : taken) wrong.fetch_add(times.load() != 1);
        CHECK_EQ(wrong.load(), 0);
      }
    }
  }
}

TEST("a thread that is held up in a piece leaves the rest of its share to the others") {
  constexpr std::size_t kItems = 256;
  ThreadPool pool(3);
  std::atomic<std::size_t> done{0};
  std::atomic<bool> held{false}, helped{true};
  pool.run_pieces(kItems, 1, 8, [&](std::size_t, std::size_t begin, std::size_t end) {
    if (!held.exchange(true)) {  // whoever comes first waits for all items but its own piece
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (done.load() < kItems - (end - begin) && helped.load()) {
        if (std::chrono::steady_clock::now() > deadline) helped = false;
        std::this_thread::yield();
      }
    }
    done.fetch_add(end - begin);
  });
  CHECK(helped.load());
  CHECK_EQ(done.load(), kItems);
}

TEST("pools are created and destroyed idle, busy and parked") {
  for (int i = 0; i < 50; i++) {
    ThreadPool pool(3);
    if (i % 2) pool.run([](std::size_t) {});
    if (i % 10 == 5) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST("shares cover every item once and differ by at most one") {
  ThreadPool pool(3);
  for (const std::size_t count : {0, 1, 2, 3, 7, 100, 8192}) {
    std::size_t next = 0;
    for (std::size_t t = 0; t < 3; t++) {
      const auto [begin, end] = pool.share(count, t);
      CHECK_EQ(begin, next);
      CHECK(end - begin >= count / 3 && end - begin <= count / 3 + 1);
      next = end;
    }
    CHECK_EQ(next, count);
  }
}

TEST("impossible thread counts are refused") {
  CHECK_THROWS_CODE(ThreadPool(0), ErrorCode::usage);
  CHECK_THROWS_CODE(ThreadPool(1000000), ErrorCode::usage);
}

#if !defined(__SANITIZE_THREAD__)  // the thread sanitizer does not support threads of a forked child
TEST("after fork the child, which has no workers, still completes sections") {
  ThreadPool pool(3);
  pool.run([](std::size_t) {});
  const pid_t child = fork();
  if (child == 0) {
    int calls = 0;
    pool.run([&](std::size_t) { calls++; });
    _exit(calls == 3 ? 0 : 1);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
  run_sections(pool, 100, 0);
}
#endif

CHECK_MAIN()
