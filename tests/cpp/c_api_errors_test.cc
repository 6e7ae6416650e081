// The C interface has for every mistake a status, a message and no harm.
#include <cmath>
#include <cstring>
#include <string>
#include <thread>

#include "c_api/guard.h"
#include "c_api_testing.h"

namespace voxtral_edge {
using check::TemporaryFolder;

TEST("work that is not allowed: nothing is done") {
  const check::CModel model, other;
  const float samples[2560] = {};
  ve_stream* streams[] = {model.stream(), model.stream(), other.stream(), model.stream()};
  CHECK_EQ(ve_stream_finish(streams[3]), VE_OK);
  ve_work work[2] = {VE_WORK_INIT, VE_WORK_INIT};
  const auto run = [&](ve_stream* second, ve_action action, const float* of_second, std::size_t size,
                       const char* part) {
    work[0] = {sizeof(ve_work), streams[0], samples, 2560, VE_FEED, 0};
    work[1] = {size, second, of_second, 2560, action, 0};
    CHECK_FAILS(ve_run_streams(work, 2), VE_ERROR_USAGE, part);
  };
  run(streams[0], VE_FEED, samples, sizeof(ve_work), "work[1]: this stream appears twice");
  run(nullptr, VE_FEED, samples, sizeof(ve_work), "work[1]: stream is NULL");
  run(streams[1], VE_FEED, nullptr, sizeof(ve_work), "work[1]: samples is NULL");
  run(streams[1], 4, samples, sizeof(ve_work), "work[1]: action is 4");
  run(streams[1], VE_FEED, samples, 0, "struct_size differs");
  run(streams[2], VE_FEED, samples, sizeof(ve_work), "different engines");
  run(streams[3], VE_FEED, samples, sizeof(ve_work), "finished");
  CHECK_FAILS(ve_run_streams(nullptr, 1), VE_ERROR_USAGE, "work is NULL");
  streams[1]->acting.test_and_set();
  run(streams[1], VE_FEED, samples, sizeof(ve_work), "another thread");
  streams[1]->acting.clear();
  for (ve_stream* stream : streams) {
    CHECK_EQ(stream->stream.stats().fed_samples, 0u);
    ve_stream_free(stream);
  }
}

TEST("a null pointer is named") {
  const check::CModel model;
  ve_stream* stream = model.stream();
  ve_engine* engine = nullptr;
  ve_stream* made = nullptr;
  const ve_event* event = nullptr;
  const char* text = nullptr;
  const std::uint32_t* ids = nullptr;
  std::size_t count = 0;
  ve_stats stats = VE_STATS_INIT;
  ve_engine_info info = VE_ENGINE_INFO_INIT;
  CHECK_FAILS(ve_engine_load(nullptr, nullptr, &engine), VE_ERROR_USAGE, "ve_engine_load: package_folder is NULL");
  CHECK_FAILS(ve_engine_load("x", nullptr, nullptr), VE_ERROR_USAGE, "engine is NULL");
  CHECK_FAILS(ve_engine_get_info(nullptr, &info), VE_ERROR_USAGE, "engine is NULL");
  CHECK_FAILS(ve_engine_get_info(model.engine, nullptr), VE_ERROR_USAGE, "info is NULL");
  CHECK_FAILS(ve_stream_create(nullptr, nullptr, &made), VE_ERROR_USAGE, "engine is NULL");
  CHECK_FAILS(ve_stream_create(model.engine, nullptr, nullptr), VE_ERROR_USAGE, "stream is NULL");
  CHECK_FAILS(ve_stream_feed_f32(stream, nullptr, 1), VE_ERROR_USAGE, "ve_stream_feed_f32: samples is NULL");
  CHECK_FAILS(ve_stream_feed_i16(stream, nullptr, 1), VE_ERROR_USAGE, "samples is NULL");
  CHECK_FAILS(ve_stream_feed_f32(nullptr, nullptr, 0), VE_ERROR_USAGE, "stream is NULL");
  CHECK_FAILS(ve_stream_feed_i16(nullptr, nullptr, 0), VE_ERROR_USAGE, "stream is NULL");
  CHECK_FAILS(ve_stream_flush(nullptr), VE_ERROR_USAGE, "ve_stream_flush: stream is NULL");
  CHECK_FAILS(ve_stream_finish(nullptr), VE_ERROR_USAGE, "stream is NULL");
  CHECK_FAILS(ve_stream_reset(nullptr), VE_ERROR_USAGE, "stream is NULL");
  CHECK_FAILS(ve_stream_next_event(nullptr, &event), VE_ERROR_USAGE, "stream is NULL");
  CHECK_FAILS(ve_stream_next_event(stream, nullptr), VE_ERROR_USAGE, "event is NULL");
  CHECK_FAILS(ve_stream_text(nullptr, &text, nullptr), VE_ERROR_USAGE, "stream is NULL");
  CHECK_FAILS(ve_stream_text(stream, nullptr, nullptr), VE_ERROR_USAGE, "text is NULL");
  CHECK_FAILS(ve_stream_token_ids(nullptr, &ids, &count), VE_ERROR_USAGE, "stream is NULL");
  CHECK_FAILS(ve_stream_token_ids(stream, nullptr, &count), VE_ERROR_USAGE, "ids is NULL");
  CHECK_FAILS(ve_stream_token_ids(stream, &ids, nullptr), VE_ERROR_USAGE, "count is NULL");
  CHECK_FAILS(ve_stream_get_stats(nullptr, &stats), VE_ERROR_USAGE, "stream is NULL");
  CHECK_FAILS(ve_stream_get_stats(stream, nullptr), VE_ERROR_USAGE, "stats is NULL");
  CHECK_EQ(ve_stream_feed_f32(stream, nullptr, 0), VE_OK);  // no samples need no pointer
  CHECK_EQ(ve_stream_feed_i16(stream, nullptr, 0), VE_OK);
  CHECK_EQ(ve_stream_text(stream, &text, nullptr), VE_OK);
  CHECK_EQ(std::string(text), "");
  ve_stream_free(stream);
  ve_stream_free(nullptr);
  ve_engine_free(nullptr);
}

TEST("packages that cannot be loaded") {
  const TemporaryFolder folder;
  ve_engine* engine = reinterpret_cast<ve_engine*>(1);
  CHECK_FAILS(ve_engine_load((folder / "nowhere").c_str(), nullptr, &engine), VE_ERROR_MODEL_FORMAT, "nowhere");
  // A name that is not UTF-8 costs its bad bytes, not the rest of the message.
  CHECK_FAILS(ve_engine_load("caf\xE9", nullptr, &engine), VE_ERROR_MODEL_FORMAT, "caf?: there is no such folder");
  CHECK(engine == nullptr);
  CHECK_FAILS(ve_engine_load(folder.path().c_str(), nullptr, &engine), VE_ERROR_MODEL_FORMAT, "manifest.json");
  check::write_tiny_package(folder.path());
  const std::string manifest = check::read_file(folder / "manifest.json");
  check::write_file(folder / "manifest.json", manifest.substr(0, manifest.size() / 2));
  CHECK_FAILS(ve_engine_load(folder.path().c_str(), nullptr, &engine), VE_ERROR_MODEL_FORMAT, "manifest.json");
  check::write_file(folder / "manifest.json", check::replaced(manifest, "\"bos\": 1", "\"bos\": 7"));
  CHECK_FAILS(ve_engine_load(folder.path().c_str(), nullptr, &engine), VE_ERROR_MODEL_FORMAT, "<s>");
  CHECK(engine == nullptr);
}

TEST("options of the engine") {
  const TemporaryFolder folder;
  check::write_tiny_package(folder.path());
  ve_engine* engine = nullptr;
  const auto load = [&](auto change) {
    ve_engine_options options = VE_ENGINE_OPTIONS_INIT;
    options.threads = 1;
    change(options);
    return ve_engine_load(folder.path().c_str(), &options, &engine);
  };
  CHECK_FAILS(load([](auto& o) { o.threads = 1025; }), VE_ERROR_USAGE, "1024");
  CHECK_FAILS(load([](auto& o) { o.kv_cache = "f64"; }), VE_ERROR_USAGE, "auto, f32, f16, int8");
  CHECK_FAILS(load([](auto& o) { o.kernels = "sse"; }), VE_ERROR_USAGE, "sse");
  CHECK_FAILS(load([](auto& o) { o.affinity = "first"; }), VE_ERROR_USAGE, "first");
  CHECK_FAILS(load([](auto& o) { o.on_progress = [](void*, std::uint64_t, std::uint64_t) { return 1; }; }),
              VE_ERROR_CANCELLED, "on_progress");
  CHECK_FAILS(
      load([](auto& o) { o.on_progress = [](void*, std::uint64_t, std::uint64_t) -> std::int32_t { throw 1; }; }),
      VE_ERROR_INTERNAL, "unknown type");
  std::string accents;
  for (int i = 0; i < 1001; ++i) accents += "\u00e9";  // the message ends within one of them
  CHECK_FAILS(load([&](auto& o) { o.kv_cache = accents.c_str(); }), VE_ERROR_USAGE, "kv_cache");
  CHECK(std::strlen(ve_last_error()) >= 998);
  CHECK(engine == nullptr);

  const TemporaryFolder cache;
  struct Progress {
    std::uint64_t calls = 0, done = 0, total = 0;
  } progress;
  for (const char* state : {"written", "mapped"}) {
    CHECK_EQ(load([&](auto& o) {
               o.kv_cache = "int8";
               o.packed_cache_folder = cache.path().c_str();
               o.user_data = &progress;
               o.on_progress = [](void* data, std::uint64_t done, std::uint64_t total) {
                 *static_cast<Progress*>(data) = {static_cast<Progress*>(data)->calls + 1, done, total};
                 return 0;
               };
             }),
             VE_OK);
    CHECK(progress.calls > 10 && progress.done > 0 && progress.done <= progress.total);
    ve_engine_info info = VE_ENGINE_INFO_INIT;
    CHECK_EQ(ve_engine_get_info(engine, &info), VE_OK);
    CHECK_EQ(std::string(info.name), "tiny-test");
    CHECK_EQ(std::string(info.encoder_kv) + info.decoder_kv, "int8int8");
    CHECK_EQ(std::string(info.packed_cache_state), state);
    CHECK_EQ(std::string(info.packed_cache_note), "");
    CHECK_EQ(info.threads, 1u);
    CHECK_EQ(info.sample_rate_hz, 16000u);
    CHECK(info.weight_bytes > 0 && info.state_bytes > 0 && info.samples_per_token > 0);
    ve_engine_free(engine);
  }
}

TEST("options of the stream") {
  const check::CModel model;
  ve_stream* stream = nullptr;
  const auto create = [&](auto change) {
    ve_stream_options options = VE_STREAM_OPTIONS_INIT;
    change(options);
    const ve_status status = ve_stream_create(model.engine, &options, &stream);
    ve_stream_free(stream);
    return status;
  };
  const char* valid =
      "choose one of: 80, 160, 240, 320, 400, 480, 560, 640, 720, 800, 880, 960, 1040, 1120, 1200, 2400";
  for (const std::uint32_t delay_ms : {1u, 79u, 100u, 1280u, 2320u, 2480u, 4294967295u}) {
    CHECK_FAILS(create([&](auto& o) { o.delay_ms = delay_ms; }), VE_ERROR_USAGE, valid);
    CHECK_CONTAINS(check::error_of_c(), "delay_ms is " + std::to_string(delay_ms) + ";");
  }
  for (std::uint32_t delay_ms = 80; delay_ms <= 1200; delay_ms += 80) {
    CHECK_EQ(create([&](auto& o) { o.delay_ms = delay_ms; }), VE_OK);
  }
  for (const float gain : {61.0f, -61.0f, std::nanf("")}) {
    CHECK_FAILS(create([&](auto& o) { o.gain_decibels = gain; }), VE_ERROR_USAGE, "gain");
  }
  CHECK_FAILS(create([](auto& o) { o.gain_decibels = 3.0f, o.automatic_gain = 1; }), VE_ERROR_USAGE, "exclude");
  CHECK_FAILS(create([](auto& o) { o.max_batch_tokens = 4097; }), VE_ERROR_USAGE, "max_batch_tokens");
  CHECK_FAILS(create([](auto& o) { o.reserved = 1; }), VE_ERROR_USAGE, "reserved");
  CHECK_FAILS(create([](auto& o) { o.hotwords = "voice\n?!"; }), VE_ERROR_USAGE, "hotwords, item 2");
  CHECK_FAILS(create([](auto& o) { o.hotwords = "voice :21"; }), VE_ERROR_USAGE, "weight 21");
  CHECK_FAILS(create([](auto& o) { o.hotwords = "caf\xE9"; }), VE_ERROR_USAGE, "UTF-8");
  CHECK_EQ(create([](auto& o) { o.hotwords = "# names\n\nvoice :2\n"; }), VE_OK);
  CHECK_EQ(create([](auto& o) { o.hotwords = ""; }), VE_OK);
  CHECK_EQ(create([](auto& o) { o.automatic_gain = o.break_pad_runs = 1, o.max_batch_tokens = 3; }), VE_OK);
}

TEST("structures of other versions") {
  const check::CModel model;
  ve_stream* stream = nullptr;
  struct {
    ve_stream_options known;
    std::uint64_t added;
  } newer = {VE_STREAM_OPTIONS_INIT, 0};
  newer.known.struct_size = sizeof(newer);
  CHECK_EQ(ve_stream_create(model.engine, &newer.known, &stream), VE_OK);
  ve_stream* refused = nullptr;
  newer.added = 1;
  CHECK_FAILS(ve_stream_create(model.engine, &newer.known, &refused), VE_ERROR_USAGE, "does not know");
  for (const std::size_t size : {std::size_t{0}, sizeof(ve_stream_options) - 1, std::size_t{1} << 20}) {
    newer.known.struct_size = size;
    CHECK_FAILS(ve_stream_create(model.engine, &newer.known, &refused), VE_ERROR_USAGE, "options.struct_size is");
  }
  struct {
    ve_stats known;
    std::uint64_t added;
  } larger = {VE_STATS_INIT, 5};
  larger.known.struct_size = sizeof(larger);
  CHECK_EQ(ve_stream_get_stats(stream, &larger.known), VE_OK);
  CHECK_EQ(larger.added, 0u);  // not known here
  CHECK_EQ(larger.known.struct_size, sizeof(larger));
  larger.known.struct_size = 8;
  CHECK_FAILS(ve_stream_get_stats(stream, &larger.known), VE_ERROR_USAGE, "stats.struct_size is 8");
  ve_engine_info info{};
  CHECK_FAILS(ve_engine_get_info(model.engine, &info), VE_ERROR_USAGE, "info.struct_size is 0");
  ve_stream_free(stream);
}

TEST("a program that was built before a field was added, with this library") {
  struct First {
    std::size_t struct_size;
    std::uint64_t a;
  };
  struct Second {
    std::size_t struct_size;
    std::uint64_t a, b;
  };
  union {
    First first;
    Second second;
  } memory{};
  memory.second = {sizeof(First), 5, 7};  // 7: what happens to lie behind the older structure
  const Second read = c_api::taken(memory.second, sizeof(First), "options");
  CHECK(read.a == 5 && read.b == 0);
  c_api::give(Second{sizeof(Second), 8, 9}, memory.second, sizeof(First), "info");
  CHECK(memory.second.struct_size == sizeof(First) && memory.second.a == 8 && memory.second.b == 7);
}

TEST("after a failure in the middle only reset and reading are possible") {
  const check::CModel model;
  const float silence[1280] = {};
  ve_stream* stream = model.stream();
  stream->stream.fail();  // as when memory runs out in a pass
  CHECK_FAILS(ve_stream_feed_f32(stream, silence, 1280), VE_ERROR_USAGE, "reset");
  CHECK_FAILS(ve_stream_finish(stream), VE_ERROR_USAGE, "failed");
  const char* text = nullptr;
  CHECK_EQ(ve_stream_text(stream, &text, nullptr), VE_OK);
  CHECK_EQ(ve_stream_reset(stream), VE_OK);
  CHECK_EQ(ve_stream_feed_f32(stream, silence, 1280), VE_OK);
  ve_stream_free(stream);
}

TEST("while a thread acts on a stream, others are refused") {
  const check::CModel model;
  const float silence[1280] = {};
  ve_stream* stream = model.stream();
  stream->acting.test_and_set();  // as a thread does that is in a call
  CHECK_FAILS(ve_stream_feed_f32(stream, silence, 1280), VE_ERROR_USAGE, "another thread is using this stream");
  CHECK_FAILS(ve_stream_feed_i16(stream, nullptr, 0), VE_ERROR_USAGE, "another thread");
  CHECK_FAILS(ve_stream_flush(stream), VE_ERROR_USAGE, "another thread");
  CHECK_FAILS(ve_stream_finish(stream), VE_ERROR_USAGE, "another thread");
  CHECK_FAILS(ve_stream_reset(stream), VE_ERROR_USAGE, "another thread");
  stream->acting.clear();
  CHECK_EQ(ve_stream_feed_f32(stream, silence, 1280), VE_OK);
  ve_stream_free(stream);
}

TEST("messages belong to threads; names and versions") {
  CHECK_EQ(ve_stream_flush(nullptr), VE_ERROR_USAGE);
  const std::string mine = ve_last_error();
  std::thread([] {
    CHECK_EQ(std::string(ve_last_error()), "");
    CHECK_EQ(ve_stream_reset(nullptr), VE_ERROR_USAGE);
  }).join();
  CHECK_EQ(std::string(ve_last_error()), mine);
  CHECK_EQ(ve_version_number(), VE_VERSION_NUMBER(VE_VERSION_MAJOR, VE_VERSION_MINOR, VE_VERSION_PATCH));
  CHECK_EQ(std::string(ve_status_name(VE_OK)), "VE_OK");
  for (ve_status status = VE_ERROR_USAGE; status <= VE_ERROR_INTERNAL; ++status) {
    CHECK_CONTAINS(std::string(ve_status_name(status)), "VE_ERROR_");
  }
  CHECK_EQ(std::string(ve_status_name(99)), "unknown status");
}

}  // namespace voxtral_edge

CHECK_MAIN()
