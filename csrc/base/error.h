// Typed errors. Every message says what is wrong, where, and what to do about it.
#pragma once

#include <stdexcept>
#include <string>

namespace voxtral_edge {

enum class ErrorCode {
  model_format,   // the package on disk is damaged, hostile or of another version
  audio_format,   // samples or sample formats that cannot be used
  device,         // CPU features, threads or files that this machine does not offer
  out_of_memory,  // less memory than is needed
  overrun,        // audio arrived faster than it could be processed, beyond the allowed backlog
  usage,          // the caller broke the interface's rules (bad option, call after finish)
  internal,       // a broken invariant of ours
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace voxtral_edge
