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
  // threads, 1 .. 1024 (else Error(usage)), counts the calling thread. Error(device) if workers cannot be started.
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

  // A section that calls f(thread_index, begin, end) for pieces of at most `most` items that cover [0, count) exactly.
  // Every thread works through its share() from the front, in pieces that shrink to `least`; who is done takes `least`
  // items at a time from the back of others' shares. So a core that is slower, late, or gets less of the memory's
  // bandwidth keeps nobody waiting for longer than a piece. 1 <= least <= most, count < 2^32.
  template <class F>
  void run_pieces(std::size_t count, std::size_t least, std::size_t most, F&& f) {
    divide(count);
    run([&](std::size_t thread) {
      for (Piece piece; next_piece(thread, least, most, piece);) f(thread, piece.begin, piece.end);
    });
  }

  // The half-open share of `count` items that belongs to `thread` (static split, sizes differ by at most one).
  std::pair<std::size_t, std::size_t> share(std::size_t count, std::size_t thread) const {
    return {count * thread / size(), count * (thread + 1) / size()};
  }

 private:
  struct Piece {
    std::size_t begin, end;
  };
  void divide(std::size_t count);
  bool next_piece(std::size_t thread, std::size_t least, std::size_t most, Piece& piece);
  void run_erased(void (*function)(void*, std::size_t), void* context);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace voxtral_edge
