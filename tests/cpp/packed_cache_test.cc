// The file of permuted weights: the same tokens through it as without it, and whatever is wrong with it ends in a note,
// a model that works, and where possible a good file.
#include "model/packed_cache.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/checksum.h"
#include "check.h"
#include "engine_testing.h"

namespace voxtral_edge {
namespace {

using check::read_file;
using check::TemporaryFolder;
using check::TinyModel;
using check::TinyPackageOptions;
using check::write_file;
using State = PackedCacheReport::State;

struct Bench {
  TinyModel model;
  TemporaryFolder folder;
  std::vector<float> audio = check::synthetic_audio(20000, 3);
  check::Transcription expected;
  std::string path;

  explicit Bench(const char* precision = "int4", std::uint64_t seed = 1) {
    TinyPackageOptions options;
    options.precision = precision;
    options.seed = seed;
    model = check::make_model(options);
    expected = check::transcribe(model, stream(), audio);
    path = folder / packed_cache_file_name(*model.package);
  }

  static StreamOptions stream() {
    StreamOptions options;
    options.delay_tokens = 6;
    options.trace = true;
    return options;
  }

  // Loads with the cache folder and checks every traced number.
  PackedCacheReport load(const std::string& in = {}, std::size_t threads = 1, const std::string& kernels = {}) {
    NativeEngineOptions options;
    options.threads = threads;
    options.kernels = kernels;
    options.packed_cache_folder = in.empty() ? folder.path() : in;
    TinyModel cached = model;
    cached.package = Package::open(model.folder->path());  // as a new process would
    cached.engine = NativeEngine::load(cached.package, options);
    if (kernels.empty()) check::check_same(check::transcribe(cached, stream(), audio), expected);
    return cached.engine->packed_cache();
  }

  void check_rebuilt(const std::string& why) {
    const PackedCacheReport report = load();
    CHECK(report.state == State::written);
    CHECK(report.note.find(why) != std::string::npos);
    if (report.note.find(why) == std::string::npos) std::printf("note: %s\n", report.note.c_str());
    CHECK(load().state == State::mapped);
    CHECK(!std::filesystem::exists(path + ".partial"));
  }

  void check_failed(const std::string& in, const std::string& why) {
    const PackedCacheReport report = load(in);
    CHECK(report.state == State::failed);
    CHECK(report.note.find(why) != std::string::npos);
    if (report.note.find(why) == std::string::npos) std::printf("note: %s\n", report.note.c_str());
  }
};

void flip_byte(const std::string& path, std::size_t at) {
  std::string content = read_file(path);
  content.at(at) = static_cast<char>(content.at(at) ^ 0x10);
  write_file(path, content);
}

}  // namespace

TEST("the first start writes, later starts map, and every number is the same") {
  for (const char* precision : {"fp32", "fp16", "int8", "int4"}) {
    Bench bench(precision);
    const PackedCacheReport first = bench.load();
    CHECK(first.state == State::written);
    CHECK(first.path == bench.path);
    CHECK(first.note.empty());
    const PackedCacheReport second = bench.load();
    CHECK(second.state == State::mapped);
    CHECK(second.note.empty());
    CHECK(!std::filesystem::exists(bench.path + ".partial"));
  }
}

TEST("the file does not depend on threads or kernels") {
  Bench bench;
  bench.load();
  const std::string content = read_file(bench.path);
  for (const char* kernels : {"scalar", ""}) {
    std::filesystem::remove(bench.path);
    CHECK(bench.load({}, 3, kernels).state == State::written);
    CHECK(read_file(bench.path) == content);
  }
}

TEST("where nothing is to be written, what is there is used or left alone") {
  Bench bench;
  NativeEngineOptions options;
  options.threads = 1;
  options.packed_cache_folder = bench.folder.path();
  options.packed_cache_write = false;
  const auto load = [&] { return NativeEngine::load(bench.model.package, options)->packed_cache(); };
  CHECK(load().state == State::off);
  CHECK(std::filesystem::is_empty(bench.folder.path()));
  bench.load();
  CHECK(load().state == State::mapped);
  CHECK(load().note.empty());
  flip_byte(bench.path, kPackedCacheAlignment + 5);
  const std::string damaged = read_file(bench.path);
  const PackedCacheReport report = load();
  CHECK(report.state == State::failed);
  CHECK(report.note.find("its weights are damaged; loaded without it") != std::string::npos);
  CHECK(read_file(bench.path) == damaged);
  options.packed_cache_folder = bench.folder / "nowhere";
  CHECK(load().state == State::off);
  CHECK(!std::filesystem::exists(options.packed_cache_folder));
}

TEST("without a folder there is no cache") {
  Bench bench;
  CHECK(bench.model.engine->packed_cache().state == State::off);
  CHECK(std::filesystem::is_empty(bench.folder.path()));
}

TEST("weights that cannot fit into memory are refused before loading, unless they are mapped") {
  Bench bench;
  NativeEngineOptions options;
  options.threads = 1;
  options.obtainable_memory_bytes = bench.model.package->identity().weights_bytes - 1;
  const auto load = [&] { return NativeEngine::load(bench.model.package, options)->packed_cache().state; };
  CHECK_THROWS_CODE(load(), ErrorCode::out_of_memory);
  options.packed_cache_folder = bench.folder.path();
  options.packed_cache_write = false;
  CHECK_THROWS_CODE(load(), ErrorCode::out_of_memory);  // there is none yet
  options.packed_cache_write = true;
  CHECK(load() == State::written);
  options.packed_cache_write = false;
  CHECK(load() == State::mapped);
  write_file(bench.path, "damaged");
  CHECK_THROWS_CODE(load(), ErrorCode::out_of_memory);
  options.packed_cache_write = true;
  options.packed_cache_folder = "/proc/no folder";  // none can be made
  CHECK_THROWS_CODE(load(), ErrorCode::out_of_memory);
  ++*options.obtainable_memory_bytes;
  CHECK(load() == State::failed);
}

TEST("a damaged file is noticed wherever the damage is, and made again") {
  Bench bench;
  bench.load();
  const std::string good = read_file(bench.path);
  PackedCachePrefix prefix;
  std::memcpy(&prefix, good.data(), sizeof prefix);
  const std::size_t index = static_cast<std::size_t>(prefix.index_offset);
  const auto flipped = [&](std::size_t at, const char* why) {
    flip_byte(bench.path, at);
    bench.check_rebuilt(why);
    CHECK(read_file(bench.path) == good);
  };
  flipped(0, "not a cache");
  flipped(20, "first bytes are damaged");
  flipped(40, "first bytes are damaged");
  flipped(kPackedCacheAlignment, "weights are damaged");
  flipped(index / 2, "weights are damaged");
  flipped(index - 1, "weights are damaged");
  flipped(index, "index is damaged");
  flipped(good.size() - 1, "index is damaged");
}

TEST("a file that was cut off, grew or is another one is made again") {
  Bench bench;
  bench.load();
  const std::string good = read_file(bench.path);
  const std::pair<std::string, const char*> others[] = {
      {"", "too short"},
      {good.substr(0, 63), "too short"},
      {good.substr(0, kPackedCacheAlignment), "bytes instead of"},
      {good.substr(0, good.size() / 2), "bytes instead of"},
      {good.substr(0, good.size() - 1), "bytes instead of"},
      {good + "x", "bytes instead of"},
      {std::string(10000, 'x'), "not a cache"},
  };
  for (const auto& [content, why] : others) {
    write_file(bench.path, content);
    bench.check_rebuilt(why);
  }
}

TEST("another version's file is made again") {
  Bench bench;
  bench.load();
  for (const std::size_t field :
       {offsetof(PackedCachePrefix, format_version), offsetof(PackedCachePrefix, layout_version)}) {
    std::string content = read_file(bench.path);
    PackedCachePrefix prefix;
    content[field] = static_cast<char>(content[field] + 1);
    std::memcpy(&prefix, content.data(), sizeof prefix);
    prefix.prefix_checksum = checksum(&prefix, sizeof prefix - sizeof prefix.prefix_checksum);
    std::memcpy(content.data(), &prefix, sizeof prefix);
    write_file(bench.path, content);
    bench.check_rebuilt("another version");
  }
}

TEST("a copy of the package uses the file, another package does not") {
  Bench bench;
  bench.load();
  const std::string weights = *bench.model.folder / "weights.bin";
  using namespace std::chrono_literals;
  std::filesystem::last_write_time(weights, std::filesystem::last_write_time(weights) - 10s);
  CHECK(bench.load().state == State::mapped);
  // Another manifest is another package with a file of its own.
  const std::string manifest = *bench.model.folder / "manifest.json";
  write_file(manifest, read_file(manifest) + "\n");
  const PackedCacheReport report = bench.load();
  CHECK(report.state == State::written);
  CHECK(report.path != bench.path);
}

TEST("another package's file under this one's name is not used, although every matrix has its shape") {
  Bench bench, other("int4", 2);
  bench.load();
  other.load();
  CHECK(bench.path.substr(bench.folder.path().size()) != other.path.substr(other.folder.path().size()));
  write_file(bench.path, read_file(other.path));
  bench.check_rebuilt("made from another package");
}

TEST("a file that other users may write is not trusted") {
  Bench bench;
  for (const mode_t mode : {0666, 0664, 0646}) {
    bench.load();
    CHECK_EQ(::chmod(bench.path.c_str(), mode), 0);
    bench.check_rebuilt("other users may write");
  }
}

TEST("the umask says who may read the file, nobody else may write it") {
  Bench bench;
  for (const mode_t mask : {0077, 0022, 0000}) {
    const mode_t before = ::umask(mask);
    write_file(bench.path + ".partial", "left by a crash");
    std::filesystem::remove(bench.path);
    CHECK(bench.load().state == State::written);
    ::umask(before);
    struct stat status;
    CHECK_EQ(::stat(bench.path.c_str(), &status), 0);
    CHECK_EQ(status.st_mode & 0777, static_cast<mode_t>(0644 & ~mask));
    CHECK(bench.load().state == State::mapped);
  }
}

TEST("links, pipes and folders in its place") {
  Bench bench;
  const std::string elsewhere = bench.folder / "elsewhere";
  write_file(elsewhere, "mine");
  CHECK_EQ(::symlink(elsewhere.c_str(), bench.path.c_str()), 0);
  bench.check_rebuilt("symbolic link");
  CHECK(read_file(elsewhere) == "mine");
  std::filesystem::remove(bench.path);
  CHECK_EQ(::mkfifo(bench.path.c_str(), 0600), 0);
  bench.check_rebuilt("not a regular file");
  std::filesystem::remove(bench.path);
  std::filesystem::create_directory(bench.path);
  bench.check_failed({}, "cannot be replaced");
  std::filesystem::remove(bench.path);
  CHECK_EQ(::symlink(elsewhere.c_str(), (bench.path + ".partial").c_str()), 0);
  bench.check_failed({}, "cannot be written");
  CHECK(read_file(elsewhere) == "mine");
}

TEST("a folder is made; where none can be, the model loads without") {
  Bench bench;
  const std::string deep = bench.folder / "not/there/yet";
  CHECK(bench.load(deep).state == State::written);
  CHECK(bench.load(deep).state == State::mapped);
  const std::string file = bench.folder / "file";
  write_file(file, "");
  bench.check_failed(file + "/below", "cannot be made");
  bench.check_failed("/proc/self/voxtral-edge", "cannot be made");  // refused to root as well
}

TEST("what a crash left behind is written over") {
  Bench bench;
  write_file(bench.path + ".partial", std::string(1 << 20, 'x'));
  CHECK(bench.load().state == State::written);
  CHECK(bench.load().state == State::mapped);
}

TEST("one process writes at a time, and the others work without") {
  Bench bench;
  {
    PackedCacheWriter writer(bench.path, *bench.model.package);
    bench.check_failed({}, "another process is writing");
    CHECK(std::filesystem::exists(bench.path + ".partial"));
  }
  CHECK(!std::filesystem::exists(bench.path + ".partial"));
  CHECK(bench.load().state == State::written);
}

TEST("a disk that is full halfway leaves nothing behind") {
  Bench bench;
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files fails as a full disk does, but for the number
  rlimit before;
  CHECK_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit limited{32 << 10, before.rlim_max};
  CHECK_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);
  bench.check_failed({}, "cannot be written");
  CHECK_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  CHECK(std::filesystem::is_empty(bench.folder.path()));
  CHECK(bench.load().state == State::written);
}

TEST("removing or replacing the file does not touch a running engine") {
  Bench bench;
  bench.load();
  NativeEngineOptions options;
  options.threads = 1;
  options.packed_cache_folder = bench.folder.path();
  TinyModel running = bench.model;
  running.engine = NativeEngine::load(bench.model.package, options);
  CHECK(running.engine->packed_cache().state == State::mapped);
  std::filesystem::remove(bench.path);
  bench.load();
  check::check_same(check::transcribe(running, Bench::stream(), bench.audio), bench.expected);
}

TEST("nothing is kept of weights that are not those of the manifest") {
  Bench bench;
  const std::string weights = *bench.model.folder / "weights.bin";
  flip_byte(weights, std::filesystem::file_size(weights) / 2);
  NativeEngineOptions options;
  options.packed_cache_folder = bench.folder.path();
  const std::shared_ptr<const Package> package = Package::open(bench.model.folder->path());
  CHECK_THROWS_CODE(NativeEngine::load(package, options), ErrorCode::model_format);
  CHECK(std::filesystem::is_empty(bench.folder.path()));
}

TEST("a damaged package is an error, cache or not") {
  Bench bench;
  NativeEngineOptions options;
  options.packed_cache_folder = bench.folder.path();
  const std::string weights = *bench.model.folder / "weights.bin";
  write_file(weights, "");
  CHECK_THROWS_CODE(NativeEngine::load(Package::open(bench.model.folder->path()), options), ErrorCode::model_format);
  CHECK(std::filesystem::is_empty(bench.folder.path()));
}

// If this fails, the bytes of packed matrices changed: raise kPackedLayoutVersion, then store the new values.
TEST("the layout is the one that kPackedLayoutVersion stands for") {
  constexpr std::size_t kRows = 19, kColumns = 70, kBlocks = 3;
  check::Numbers numbers(7);
  std::vector<std::uint8_t> bytes(kRows * kBlocks * 32);
  for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(numbers.below(256));
  std::vector<std::uint16_t> halves(kRows * kColumns);
  for (std::uint16_t& h : halves) h = static_cast<std::uint16_t>(0x2000 + numbers.below(0x1000));
  std::vector<float> floats(kRows * kColumns);
  for (float& f : floats) f = numbers.between(-1.0f, 1.0f);
  const auto sum = [&](WeightType type, const void* weights) {
    PackedMatrix matrix(type, kRows, kColumns);
    matrix.pack_rows(0, kRows, weights, halves.data());
    return checksum(matrix.data(), matrix.bytes());
  };
  CHECK_EQ(kPackedLayoutVersion, 1u);
  CHECK_EQ(sum(WeightType::q4, bytes.data()), 8770172918186350738u);
  CHECK_EQ(sum(WeightType::q8, bytes.data()), 17742053805548477008u);
  CHECK_EQ(sum(WeightType::f16, halves.data()), 6214417767394214699u);
  CHECK_EQ(sum(WeightType::f32, floats.data()), 8559079043733316403u);
}

TEST("the checksum sees every byte, the order and the length") {
  check::Numbers numbers(9);
  for (const std::size_t bytes : {0, 1, 7, 8, 63, 64, 65, 200, 1000}) {
    std::vector<std::uint8_t> data(bytes);
    for (std::uint8_t& b : data) b = static_cast<std::uint8_t>(numbers.below(256));
    const std::uint64_t sum = checksum(data.data(), bytes);
    for (std::size_t i = 0; i < bytes; ++i) {
      data[i] ^= 1;
      CHECK(checksum(data.data(), bytes) != sum);
      data[i] ^= 1;
    }
    CHECK_EQ(checksum(data.data(), bytes), sum);
    data.push_back(0);
    CHECK(checksum(data.data(), bytes + 1) != sum);
    if (bytes < 200) continue;
    std::swap_ranges(data.begin(), data.begin() + 8, data.begin() + 64);
    CHECK(checksum(data.data(), bytes) != sum);
  }
}

}  // namespace voxtral_edge

CHECK_MAIN()
