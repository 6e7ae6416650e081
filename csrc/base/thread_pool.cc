#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#define VOXTRAL_EDGE_HAS_PTHREAD 1
#endif

#include "base/error.h"

namespace voxtral_edge {
namespace {

using Word = std::atomic<std::uint32_t>;
static_assert(sizeof(Word) == 4, "a futex is a 32-bit word");

// Between two sections of one step lie a few microseconds, between two steps up to 80 ms: spinning 60 us keeps the
// first free of system calls and costs a waiting stream under 0.1 % of a core.
constexpr std::chrono::microseconds kSpin{60};
constexpr int kPausesPerClockRead = 32;  // a clock read costs as much as a few pauses

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");  // ~10 ns; "yield" is a no-op on most cores
#else
  std::this_thread::yield();
#endif
}

// Sleeps while word == expected (may wake early). Sequentially consistent with wake().
void park(Word& word, std::uint32_t expected) {
#if defined(__linux__)
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
#else
  word.wait(expected);
#endif
}

void wake(Word& word) {
#if defined(__linux__)
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
#else
  word.notify_all();
#endif
}

// Spins until done() or until the time is up; the last value of done().
template <class Done>
bool spin_until(std::chrono::nanoseconds limit, Done done) {
  if (done()) return true;
  if (limit.count() == 0) return false;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < kPausesPerClockRead; i++) {
      pause_cpu();
      if (done()) return true;
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

// Counts forks seen by this process image: after fork() a pool's workers do not exist in the child.
std::atomic<std::uint32_t> forks{0};

void watch_forks() {
#ifdef VOXTRAL_EDGE_HAS_PTHREAD
  static const int once = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  (void)once;
#endif
}

// Both ends of a range in one word, so that owner and helpers can take from them without a lock.
std::uint64_t packed(std::size_t begin, std::size_t end) { return std::uint64_t{begin} << 32 | end; }

void name_this_thread(std::size_t index) {
#if defined(__linux__)
  char name[16];
  std::snprintf(name, sizeof name, "voxtral-%u", static_cast<unsigned>(index % 1000000));
  pthread_setname_np(pthread_self(), name);
#else
  (void)index;
#endif
}

// Signals belong to the application's threads: workers start with all of them blocked.
class SignalsBlocked {
 public:
#ifdef VOXTRAL_EDGE_HAS_PTHREAD
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
#else
  SignalsBlocked() {}
#endif
};

}  // namespace

// The caller publishes a section by advancing `generation`. Every worker's share of it is claimed once: by the worker,
// or, when the worker has not begun by the time the caller is done with its own share (parked, or without a core), by
// the caller. So a busy machine costs the lost parallelism, not a scheduler tick per section: with twice as many
// runnable threads as cores, 160 s of tiny-model audio take 0.6 s; waiting for every worker they would take 12 s.
// Whoever finishes a share decreases `remaining`. A sleeper first announces itself (sequentially consistent), then
// sleeps only if the word is unchanged; the waker first changes the word, then looks for announced sleepers. So either
// the sleeper sees the change or is woken.
struct ThreadPool::State {
  // Separate cache lines: workers poll the first while the caller polls the second.
  alignas(64) Word generation{0};
  std::atomic<std::uint32_t> parked_workers{0};
  alignas(64) Word remaining{0};
  std::atomic<bool> parked_caller{false};
  alignas(64) void (*function)(void*, std::size_t) = nullptr;
  void* context = nullptr;
  std::atomic<bool> stopping{false};  // a late worker may still look at an old section when the pool stops
  std::size_t threads = 1;
  std::chrono::nanoseconds spin{0};
  std::uint32_t forks_at_start = 0;
  std::vector<std::thread> workers;
  struct alignas(64) Claim {
    Word section{0};  // last section whose share was claimed
  };
  std::vector<Claim> claims;  // one per worker
  struct alignas(64) Remaining {
    std::atomic<std::uint64_t> items{0};  // packed(begin, end)
  };
  std::vector<Remaining> remaining_items;  // of run_pieces, one per thread

  // True if the share of worker `index` in `section` is now the calling thread's to run.
  bool claim(std::size_t index, std::uint32_t section) {
    Word& word = claims[index - 1].section;
    std::uint32_t before = section - 1;
    return word.load(std::memory_order_relaxed) == before &&
           word.compare_exchange_strong(before, section, std::memory_order_acq_rel);
  }

  void publish() {
    remaining.store(static_cast<std::uint32_t>(workers.size()), std::memory_order_relaxed);
    generation.fetch_add(1, std::memory_order_seq_cst);
    if (parked_workers.load(std::memory_order_seq_cst) != 0) wake(generation);
  }

  void await_section(std::uint32_t seen) {
    const auto changed = [&] { return generation.load(std::memory_order_acquire) != seen; };
    if (spin_until(spin, changed)) return;
    parked_workers.fetch_add(1, std::memory_order_seq_cst);
    while (generation.load(std::memory_order_seq_cst) == seen) park(generation, seen);
    parked_workers.fetch_sub(1, std::memory_order_relaxed);
  }

  void work(std::size_t index) {
    name_this_thread(index);
    for (std::uint32_t seen = 0;;) {
      await_section(seen);
      seen++;
      if (stopping.load(std::memory_order_relaxed)) return;
      if (!claim(index, seen)) continue;  // the caller was faster
      function(context, index);
      if (remaining.fetch_sub(1, std::memory_order_seq_cst) == 1 && parked_caller.load(std::memory_order_seq_cst))
        wake(remaining);
    }
  }

  void take_unclaimed_shares() {
    const std::uint32_t section = generation.load(std::memory_order_relaxed);
    for (std::size_t index = workers.size(); index >= 1; --index) {
      if (!claim(index, section)) continue;
      function(context, index);
      remaining.fetch_sub(1, std::memory_order_seq_cst);
    }
  }

  // A worker that lost its core keeps the caller waiting for a scheduler tick: sleep then, and free our core for it.
  void await_workers() {
    if (spin_until(spin, [&] { return remaining.load(std::memory_order_acquire) == 0; })) return;
    parked_caller.store(true, std::memory_order_seq_cst);
    for (std::uint32_t left; (left = remaining.load(std::memory_order_seq_cst)) != 0;) park(remaining, left);
    parked_caller.store(false, std::memory_order_relaxed);
  }

  void stop() {
    stopping.store(true, std::memory_order_relaxed);
    publish();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(std::size_t threads) : state_(std::make_unique<State>()) {
  constexpr std::size_t kMost = 1024;
  if (threads < 1 || threads > kMost)
    throw Error(ErrorCode::usage,
                "thread count " + std::to_string(threads) + " is outside 1 to " + std::to_string(kMost));
  watch_forks();
  State& s = *state_;
  s.threads = threads;
  s.forks_at_start = forks.load(std::memory_order_relaxed);
  // With more threads than cores a spinning thread only keeps the awaited one from running.
  s.spin = threads <= std::thread::hardware_concurrency() ? kSpin : std::chrono::microseconds{0};
  s.workers.reserve(threads - 1);
  s.claims = std::vector<State::Claim>(threads - 1);
  s.remaining_items = std::vector<State::Remaining>(threads);
  try {
    const SignalsBlocked blocked;
    for (std::size_t i = 1; i < threads; i++) s.workers.emplace_back([&s, i] { s.work(i); });
  } catch (const std::system_error& e) {
    const std::size_t started = s.workers.size();
    s.stop();
    throw Error(ErrorCode::device, "cannot start worker thread " + std::to_string(started + 1) + " of " +
                                       std::to_string(threads - 1) + " (" + e.what() +
                                       "): use fewer threads or raise the process limit");
  }
}

ThreadPool::~ThreadPool() {
  if (state_->forks_at_start == forks.load(std::memory_order_relaxed)) {
    state_->stop();
    return;
  }
  for (std::thread& worker : state_->workers) worker.detach();  // they live in the parent process only
}

void ThreadPool::place(const std::vector<std::size_t>& cpus, Placement placement) {
  for (std::size_t i = 0; i < state_->workers.size(); ++i) {
    const std::size_t own = cpus[(i + 1) % cpus.size()];
    int failure = ENOSYS;
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const std::size_t cpu : cpus)
      if (cpu < CPU_SETSIZE && (placement == Placement::any_of || cpu == own)) CPU_SET(cpu, &set);
    failure = pthread_setaffinity_np(state_->workers[i].native_handle(), sizeof set, &set);
#endif
    if (failure != 0 && placement == Placement::one_each)
      throw Error(ErrorCode::device, "cannot pin a worker thread to CPU " + std::to_string(own) + " (" +
                                         std::generic_category().message(failure) + "): choose affinity \"off\"");
  }
}

std::size_t ThreadPool::size() const { return state_->threads; }

void ThreadPool::divide(std::size_t count) {
  for (std::size_t i = 0; i < state_->threads; ++i) {
    const auto [begin, end] = share(count, i);
    state_->remaining_items[i].items.store(packed(begin, end), std::memory_order_relaxed);
  }
}

bool ThreadPool::next_piece(std::size_t thread, std::size_t least, std::size_t most, Piece& piece) {
  for (std::size_t i = 0; i < state_->threads; ++i) {
    const std::size_t owner = thread + i < state_->threads ? thread + i : thread + i - state_->threads;
    std::atomic<std::uint64_t>& items = state_->remaining_items[owner].items;
    for (std::uint64_t now = items.load(std::memory_order_relaxed);;) {
      const std::size_t begin = now >> 32, end = now & 0xffffffffu;
      if (begin == end) break;
      const bool own = owner == thread;
      const std::size_t left = end - begin, take = std::min(left, own ? std::clamp(left / 2, least, most) : least);
      piece = own ? Piece{begin, begin + take} : Piece{end - take, end};
      const std::uint64_t rest = own ? packed(begin + take, end) : packed(begin, end - take);
      if (items.compare_exchange_weak(now, rest, std::memory_order_relaxed)) return true;
    }
  }
  return false;
}

void ThreadPool::run_erased(void (*function)(void*, std::size_t), void* context) {
  State& s = *state_;
  if (s.forks_at_start != forks.load(std::memory_order_relaxed)) {
    for (std::size_t i = 0; i < s.threads; i++) function(context, i);  // forked child: slower, but it works
    return;
  }
  if (s.workers.empty()) {
    function(context, 0);
    return;
  }
  s.function = function;
  s.context = context;
  s.publish();
  function(context, 0);
  s.take_unclaimed_shares();
  s.await_workers();
}

}  // namespace voxtral_edge
