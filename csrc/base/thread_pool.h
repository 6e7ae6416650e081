// A persistent pool for sub-millisecond parallel sections: workers spin briefly, then park.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace voxtral_edge {

class ThreadPool {
 public:
  // threads >= 1 counts the calling thread. Error(device) if workers cannot be started.
  explicit ThreadPool(std::size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t size() const;

  enum class Placement { any_of, one_each };
  // Keeps the workers (not the calling thread) on these CPUs: anywhere among them, or worker i on cpus[i % size] alone,
  // which leaves the first to the calling thread. Where the system cannot: Error(device) for one_each, nothing else.
  void place(const std::vector<std::size_t>& cpus, Placement placement);

  // Calls f(thread_index) once for every index (0 on the caller; another on its worker, or on the caller when that
  // worker is late) and returns when all are done. Not reentrant: one section at a time (the engine's pass lock
  // guarantees it). f must not throw. No allocation, no lock while workers spin.
  template <class F>
  void run(F&& f) {
    run_erased([](void* context, std::size_t thread) { (*static_cast<std::remove_reference_t<F>*>(context))(thread); },
               const_cast<void*>(static_cast<const void*>(&f)));
  }

  // The half-open share of `count` items that belongs to `thread` (static split, sizes differ by at most one).
  std::pair<std::size_t, std::size_t> share(std::size_t count, std::size_t thread) const {
    return {count * thread / size(), count * (thread + 1) / size()};
  }

 private:
  void run_erased(void (*function)(void*, std::size_t), void* context);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace voxtral_edge
