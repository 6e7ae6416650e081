// A tiny test runner for plain executables.
//
//   TEST("adds numbers") { CHECK_EQ(1 + 1, 2); }
//   CHECK_MAIN()
//
// A failed check prints file, line, test and values; the test continues, so one run shows every failure (capped per
// test). The process exits 1 if anything failed. An argument runs only the tests whose name contains it.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdio>
#include <exception>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace voxtral_edge::check {

struct Case {
  const char* name;
  void (*function)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> list;
  return list;
}

struct State {  // checks may run on any thread
  const char* test = "";
  std::atomic<long> checks{0};
  std::atomic<long> failures{0};  // in all
  std::atomic<long> failures_in_test{0};
};

inline State& state() {
  static State value;
  return value;
}

struct Registrar {
  Registrar(const char* name, void (*function)()) { cases().push_back({name, function}); }
};

inline constexpr long kShownPerTest = 10;  // a broken kernel fails in thousands of places; the first few tell

inline void fail(const char* file, int line, const std::string& message) {
  State& s = state();
  s.failures++;
  if (++s.failures_in_test <= kShownPerTest)
    std::fprintf(stderr, "%s:%d: in test \"%s\": %s\n", file, line, s.test, message.c_str());
}

template <class T>
std::string text(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<long long>(value));
  } else if constexpr (requires(std::ostringstream& o) { o << value; }) {
    std::ostringstream out;
    out.precision(17);
    if constexpr (std::is_same_v<T, signed char> || std::is_same_v<T, unsigned char>) out << static_cast<int>(value);
    else out << value;
    return out.str();
  } else {
    return "(unprintable)";
  }
}

template <class A, class B>
void equal(const A& a, const B& b, const char* expression, const char* file, int line) {
  state().checks++;
  if (!(a == b)) fail(file, line, std::string(expression) + ": got " + text(a) + ", expected " + text(b));
}

inline void near(double a, double b, double tolerance, const char* expression, const char* file, int line) {
  state().checks++;
  if (!(std::fabs(a - b) <= tolerance))  // also fails on NaN
    fail(file, line,
         std::string(expression) + ": got " + text(a) + ", expected " + text(b) + " within " + text(tolerance));
}

inline int run_all(int argc, char** argv) {
  int ran = 0;
  for (const Case& c : cases()) {
    if (argc > 1 && std::string(c.name).find(argv[1]) == std::string::npos) continue;
    State& s = state();
    s.test = c.name;
    s.failures_in_test = 0;
    ran++;
    try {
      c.function();
    } catch (const std::exception& e) {
      fail(__FILE__, __LINE__, std::string("uncaught exception: ") + e.what());
    } catch (...) {
      fail(__FILE__, __LINE__, "uncaught exception of unknown type");
    }
    if (s.failures_in_test > kShownPerTest)
      std::fprintf(stderr, "  … and %ld more failures in \"%s\"\n", s.failures_in_test.load() - kShownPerTest, c.name);
    std::printf("%s  %s\n", s.failures_in_test ? "FAILED" : "ok    ", c.name);
    std::fflush(stdout);
  }
  const State& s = state();
  std::printf("%d tests, %ld checks, %ld failures\n", ran, s.checks.load(), s.failures.load());
  if (ran == 0) std::fprintf(stderr, "no test matched\n");
  return s.failures == 0 && ran > 0 ? 0 : 1;
}

}  // namespace voxtral_edge::check

#define CHECK_JOIN2(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN2(a, b)
#define TEST(name)                                                                      \
  static void CHECK_JOIN(check_test_, __LINE__)();                                      \
  static const ::voxtral_edge::check::Registrar CHECK_JOIN(check_registrar_, __LINE__)( \
      name, CHECK_JOIN(check_test_, __LINE__));                                         \
  static void CHECK_JOIN(check_test_, __LINE__)()

#define CHECK(...)                                                                               \
  do {                                                                                           \
    ::voxtral_edge::check::state().checks++;                                                     \
    if (!(__VA_ARGS__)) ::voxtral_edge::check::fail(__FILE__, __LINE__, "false: " #__VA_ARGS__); \
  } while (0)
#define CHECK_EQ(a, b) ::voxtral_edge::check::equal((a), (b), #a " == " #b, __FILE__, __LINE__)
#define CHECK_NEAR(a, b, tolerance) ::voxtral_edge::check::near((a), (b), (tolerance), #a " ~ " #b, __FILE__, __LINE__)

// The expression must throw voxtral_edge::Error with this code.
#define CHECK_THROWS_CODE(expression, expected_code)                                                        \
  do {                                                                                                      \
    ::voxtral_edge::check::state().checks++;                                                                \
    try {                                                                                                   \
      (void)(expression);                                                                                   \
      ::voxtral_edge::check::fail(__FILE__, __LINE__, "no exception: " #expression);                        \
    } catch (const ::voxtral_edge::Error& error) {                                                          \
      if (error.code() != (expected_code))                                                                  \
        ::voxtral_edge::check::fail(__FILE__, __LINE__,                                                     \
                                    std::string("wrong error code from " #expression ": ") + error.what()); \
    }                                                                                                       \
  } while (0)
// The expression must throw anything derived from std::exception.
#define CHECK_THROWS(expression)                                                                     \
  do {                                                                                               \
    ::voxtral_edge::check::state().checks++;                                                         \
    bool check_threw = false;                                                                        \
    try {                                                                                            \
      (void)(expression);                                                                            \
    } catch (const std::exception&) {                                                                \
      check_threw = true;                                                                            \
    }                                                                                                \
    if (!check_threw) ::voxtral_edge::check::fail(__FILE__, __LINE__, "no exception: " #expression); \
  } while (0)

#define CHECK_MAIN() \
  int main(int argc, char** argv) { return ::voxtral_edge::check::run_all(argc, argv); }
