// A miniature model behind the C interface, and what its messages must be like.
#pragma once

#include <string>

#include "c_api/handles.h"
#include "c_api/voxtral_edge.h"
#include "check.h"
#include "error_text.h"
#include "temporary_folder.h"
#include "tiny_package.h"

namespace voxtral_edge::check {

inline std::string error_of_c() {
  const std::string text = ve_last_error();
  CHECK_EQ(utf8_valid_prefix(text), text.size());
  CHECK(text.find_first_of("\n\t\r") == std::string::npos);
  return text;
}

// A miniature package and an engine of one thread on it.
struct CModel {
  CModel() {
    write_tiny_package(folder.path());
    ve_engine_options options = VE_ENGINE_OPTIONS_INIT;
    options.threads = 1;
    CHECK_EQ(ve_engine_load(folder.path().c_str(), &options, &engine), VE_OK);
  }
  ~CModel() { ve_engine_free(engine); }
  CModel(const CModel&) = delete;
  CModel& operator=(const CModel&) = delete;

  ve_stream* stream(const ve_stream_options* options = nullptr) const {
    ve_stream* made = nullptr;
    CHECK_EQ(ve_stream_create(engine, options, &made), VE_OK);
    return made;
  }

  TemporaryFolder folder;
  ve_engine* engine = nullptr;
};

}  // namespace voxtral_edge::check

// The call must fail with this status, and its message must contain the text.
#define CHECK_FAILS(call, expected_status, part)                 \
  do {                                                           \
    CHECK_EQ((call), (expected_status));                         \
    CHECK_CONTAINS(::voxtral_edge::check::error_of_c(), (part)); \
  } while (0)
