// Opening packages: what is read from a good one, and that every damaged or hostile one gives a typed error.
#include "package/package.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "error_text.h"
#include "kernels/half.h"
#include "temporary_folder.h"
#include "tiny_package.h"

using namespace voxtral_edge;
using check::error_text;
using check::read_file;
using check::replaced;
using check::TemporaryFolder;
using check::TinyPackageOptions;
using check::write_file;
using check::write_tiny_package;

namespace {

// A package whose files a test may spoil.
struct Fixture {
  explicit Fixture(const std::string& precision = "int4") {
    TinyPackageOptions options;
    options.precision = precision;
    write_tiny_package(folder.path(), options);
  }
  std::string manifest() const { return read_file(folder / "manifest.json"); }
  void set_manifest(const std::string& text) const { write_file(folder / "manifest.json", text); }
  void edit(const std::string& from, const std::string& to) const { set_manifest(replaced(manifest(), from, to)); }
  std::string refusal() const {
    const std::string text = error_text([&] { Package::open(folder.path()); });
    CHECK_EQ(text.substr(0, folder.path().size()), folder.path());  // says which package
    return text;
  }
  TemporaryFolder folder;
};

// The package with one edit of its manifest is refused with a message that holds `part`.
void refused(const std::string& from, const std::string& to, const std::string& part) {
  const Fixture fixture;
  fixture.edit(from, to);
  CHECK_CONTAINS(fixture.refusal(), part);
}

// The JSON text of one tensor's entry.
std::string entry_of(const std::string& manifest, const std::string& name) {
  const std::size_t begin = manifest.find("\"" + name + "\": {");
  return manifest.substr(begin, manifest.find('\n', begin) - begin);
}

void refused_in_entry(const std::string& name, const std::string& from, const std::string& to,
                      const std::string& part) {
  const Fixture fixture;
  const std::string entry = entry_of(fixture.manifest(), name);
  fixture.edit(entry, replaced(entry, from, to));
  CHECK_CONTAINS(fixture.refusal(), part);
}

std::uint64_t field(const std::string& entry, const std::string& key) {
  return std::stoull(entry.substr(entry.find("\"" + key + "\": ") + key.size() + 4));
}

}  // namespace

TEST("opens packages of every precision") {
  for (const std::string precision : {"fp32", "fp16", "int8", "int4"}) {
    const Fixture fixture(precision);
    const auto package = Package::open(fixture.folder.path());
    CHECK_EQ(package->name(), "tiny-test");
    CHECK_EQ(package->directory(), fixture.folder.path());
    CHECK_EQ(package->tokenizer_path(), fixture.folder / "tekken.json");
    CHECK_EQ(package->config().encoder.width, 44u);
    CHECK_EQ(package->config().adapter.input_width, 176u);
    CHECK_EQ(package->precision().size(), 6u);
    CHECK_EQ(package->precision().at("decoder.ffn"), precision);
    CHECK(package->weight_bytes() > 0);
    CHECK(package->weight_bytes() <= std::filesystem::file_size(fixture.folder / "weights.bin"));
    const TensorInfo& query = package->tensor("encoder.layers.1.attention.q.weight");
    CHECK_EQ(query.name, "encoder.layers.1.attention.q.weight");
    CHECK_EQ(query.shape[0], 36u);
    CHECK_EQ(query.offset % 64, 0u);
    CHECK_EQ(package->tensor("decoder.layers.0.delay.linear1.weight").quantization.bits, 0u);
    CHECK(package->tensor("decoder.norm.weight").type == TensorType::f32);
    CHECK_EQ(package->has_tensor("encoder.layers.1.attention.q.scales"), precision[0] == 'i');
    CHECK(!package->has_tensor("encoder.layers.2.attention.q.weight"));
    CHECK_CONTAINS(error_text([&] { package->tensor("no.such\n"); }), "there is no \"no.such\\u000a\"");
    if (precision[0] == 'i') {
      CHECK_EQ(query.quantization.bits, precision == "int4" ? 4u : 8u);
      CHECK_EQ(query.quantization.rows, 36u);
      CHECK_EQ(query.quantization.columns, 44u);
      CHECK_EQ(query.quantization.scales, "encoder.layers.1.attention.q.scales");
      CHECK_EQ(query.shape[1], 2u);
      CHECK_EQ(query.shape[2], precision == "int4" ? 16u : 32u);
    }
  }
}

TEST("precisions may differ by group") {
  const TemporaryFolder folder;
  TinyPackageOptions options;
  options.precision = "int4";
  options.group_precision = {{"embedding", "int8"}, {"adapter", "fp16"}, {"encoder.ffn", "fp32"}};
  write_tiny_package(folder.path(), options);
  const auto package = Package::open(folder.path());
  CHECK_EQ(package->tensor("decoder.embedding.weight").quantization.bits, 8u);
  CHECK_EQ(package->tensor("decoder.layers.1.ffn.up.weight").quantization.bits, 4u);
  CHECK(package->tensor("adapter.linear1.weight").type == TensorType::f16);
  CHECK(package->tensor("encoder.layers.0.ffn.up.weight").type == TensorType::f32);
  CHECK_EQ(package->precision().at("embedding"), "int8");
}

TEST("the tiny package is the same for the same options") {
  const Fixture one, two;
  for (const char* name : {"manifest.json", "weights.bin", "tekken.json"}) {
    CHECK(read_file(one.folder / name) == read_file(two.folder / name));
  }
  TinyPackageOptions options;
  options.precision = "int4";
  options.seed = 2;
  write_tiny_package(two.folder.path(), options);
  CHECK(read_file(one.folder / "weights.bin") != read_file(two.folder / "weights.bin"));
}

TEST("reads are exact, bounded and usable from many threads") {
  const Fixture fixture("fp32");
  const auto package = Package::open(fixture.folder.path());
  const std::string weights = read_file(fixture.folder / "weights.bin");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t thread = 0; thread < wrong.size(); ++thread) {
    threads.emplace_back([&, thread] {
      for (const std::string name : {"decoder.embedding.weight", "encoder.conv2.weight", "decoder.norm.weight"}) {
        const TensorInfo& tensor = package->tensor(name);
        std::string part(100 + thread, '\0');
        for (std::uint64_t at = 0; at + part.size() <= tensor.bytes; at += 1000) {
          package->read(tensor, at, part.size(), part.data());
          wrong[thread] += std::memcmp(part.data(), weights.data() + tensor.offset + at, part.size()) != 0;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : wrong) CHECK_EQ(count, 0);
  const TensorInfo& norm = package->tensor("decoder.norm.weight");
  char byte;
  package->read(norm, norm.bytes, 0, &byte);
  CHECK_THROWS_CODE(package->read(norm, norm.bytes, 1, &byte), ErrorCode::internal);
  CHECK_THROWS_CODE(package->read(norm, UINT64_MAX, 2, &byte), ErrorCode::internal);
  CHECK_THROWS_CODE(package->read(norm, 1, UINT64_MAX, &byte), ErrorCode::internal);
}

TEST("quantised tensors hold codes with the zero point in the padding") {
  const Fixture fixture("int4");
  const auto package = Package::open(fixture.folder.path());
  const TensorInfo& query = package->tensor("encoder.layers.0.attention.q.weight");  // 44 columns: 20 of padding
  std::vector<std::uint8_t> codes(query.bytes);
  package->read(query, 0, query.bytes, codes.data());
  for (std::size_t row = 0; row < query.shape[0]; ++row) {
    for (std::size_t i = 6; i < 16; ++i) CHECK_EQ(codes[(row * 2 + 1) * 16 + i], 0x88);
  }
  const TensorInfo& scales = package->tensor(query.quantization.scales);
  std::vector<std::uint16_t> halves(scales.bytes / 2);
  package->read(scales, 0, scales.bytes, halves.data());
  for (const std::uint16_t half : halves) CHECK(float_from_half(half) > 0 && float_from_half(half) < 1);
}

TEST("what was opened stays readable when the folder is replaced, and a shrunk file is an error") {
  const Fixture fixture("fp32");
  const auto package = Package::open(fixture.folder.path());
  const TensorInfo& last = package->tensor("decoder.norm.weight");
  std::vector<char> before(last.bytes), after(last.bytes);
  package->read(last, 0, last.bytes, before.data());
  std::filesystem::rename(fixture.folder / "weights.bin", fixture.folder / "old.bin");
  write_file(fixture.folder / "weights.bin", "other");
  package->read(last, 0, last.bytes, after.data());
  CHECK(before == after);
  CHECK_EQ(::truncate((fixture.folder / "old.bin").c_str(), static_cast<off_t>(last.offset + 8)), 0);
  CHECK_CONTAINS(error_text([&] { package->read(last, 0, last.bytes, after.data()); }),
                 "weights.bin was truncated while in use: byte " + std::to_string(last.offset + 8));
}

TEST("missing folders and files") {
  const Fixture fixture;
  CHECK_CONTAINS(error_text([] { Package::open("/no/such/folder"); }),
                 "/no/such/folder: there is no such folder; a model is");
  CHECK_CONTAINS(error_text([] { Package::open(""); }), "the name of the package folder is empty");
  CHECK_CONTAINS(error_text([&] { Package::open(fixture.folder / "manifest.json"); }), "not a folder");
  CHECK_CONTAINS(error_text([&] { Package::open(fixture.folder.path() + std::string("\0x", 2)); }),
                 "a path with a zero byte");
  for (const std::string name : {"encoder.onnx", "decoder.onnx", "tekken.json", "weights.bin", "manifest.json"}) {
    const Fixture spoiled;
    std::filesystem::remove(spoiled.folder / name);
    CHECK_CONTAINS(spoiled.refusal(), name + ": no such file; the package is incomplete");
  }
}

TEST("files that this process may not open any more") {
  const Fixture fixture;
  struct rlimit before;
  CHECK_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = ::dup(0);
  CHECK(next > 0);
  ::close(next);
  for (int more = 0; more < 2; ++more) {  // the folder, then a file in it
    struct rlimit few = before;
    few.rlim_cur = static_cast<rlim_t>(next + more);
    CHECK_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    std::string text;
    try {
      Package::open(fixture.folder.path());
    } catch (const Error& error) {
      text = error.code() == ErrorCode::device ? error.what() : "";  // the package is innocent
    }
    CHECK_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_CONTAINS(text, "Too many open files; close some, or raise the limit (ulimit -n)");
  }
}

TEST("symbolic links, pipes and folders in place of files are refused at once") {
  for (const std::string name : {"manifest.json", "weights.bin", "tekken.json", "encoder.onnx"}) {
    const Fixture fixture;
    std::filesystem::rename(fixture.folder / name, fixture.folder / "elsewhere");
    std::filesystem::create_symlink("elsewhere", fixture.folder / name);
    CHECK_CONTAINS(fixture.refusal(), name + ": a symbolic link");
    std::filesystem::remove(fixture.folder / name);
    CHECK_EQ(::mkfifo((fixture.folder / name).c_str(), 0600), 0);  // would block an ordinary open
    CHECK_CONTAINS(fixture.refusal(), name + ": not a regular file");
    std::filesystem::remove(fixture.folder / name);
    std::filesystem::create_directory(fixture.folder / name);
    CHECK_CONTAINS(fixture.refusal(), name + ": not a regular file");
  }
  const Fixture fixture;
  fixture.edit("\"encoder.onnx\"", "\"/dev/zero\"");
  CHECK_CONTAINS(fixture.refusal(), "\"/dev/zero\" is not a plain file name");
}

TEST("file names must stay inside the folder") {
  for (const std::string name : {"../encoder.onnx", "/etc/passwd", "a/b", "..", ".", "", "a\\\\b", "x\\u0000y"}) {
    refused("\"encoder.onnx\"", "\"" + name + "\"", "is not a plain file name inside the package folder");
  }
  refused("\"encoder.onnx\"", "\"" + std::string(256, 'x') + "\"", "is not a plain file name");
}

TEST("file sizes and hashes") {
  for (const std::string name : {"weights.bin", "tekken.json", "encoder.onnx"}) {
    const Fixture fixture;
    std::filesystem::resize_file(fixture.folder / name, std::filesystem::file_size(fixture.folder / name) - 1);
    CHECK_CONTAINS(fixture.refusal(), name + ": has ");
    std::filesystem::resize_file(fixture.folder / name, std::filesystem::file_size(fixture.folder / name) + 2);
    CHECK_CONTAINS(fixture.refusal(), "bytes, but the manifest says");
  }
  refused("\"encoder.onnx\": {\"bytes\": 11", "\"encoder.onnx\": {\"bytes\": -1",
          "files.encoder.onnx.bytes: expected an integer");
  refused("\"encoder.onnx\": {\"bytes\": 11", "\"encoder.onnx\": {\"bytes\": 9223372036854775807",
          "the manifest says 9223372036854775807");
  refused("\"encoder.onnx\": {\"bytes\": 11", "\"encoder.onnx\": {\"size\": 11",
          "files.encoder.onnx: missing \"bytes\"");
  refused("\"sha256\": \"0", "\"sha256\": \"", "sha256: expected 64 lower-case hexadecimal digits");
  refused("\"sha256\": \"0", "\"sha256\": \"G", "sha256: expected 64 lower-case hexadecimal digits");
  refused("\"weights.bin\": {\"bytes\"", "\"weights.txt\": {\"bytes\"", "files: missing \"weights.bin\"");
  refused("\"tekken.json\": {\"bytes\"", "\"tekken.txt\": {\"bytes\"", "files: missing \"tekken.json\"");
  refused("\"files\": {", "\"files\": [", "expected");
}

TEST("weights cut at every 4 KiB boundary are refused on opening") {
  const Fixture fixture("fp32");
  const std::uint64_t size = std::filesystem::file_size(fixture.folder / "weights.bin");
  for (std::uint64_t cut = size / 4096 * 4096;; cut -= 4096) {
    std::filesystem::resize_file(fixture.folder / "weights.bin", cut);
    CHECK_CONTAINS(fixture.refusal(), "weights.bin: has " + std::to_string(cut) + " bytes");
    if (cut == 0) break;
  }
}

TEST("format and version") {
  refused("voxtral-edge-package", "gguf", "manifest.json: format: expected \"voxtral-edge-package\", found \"gguf\"");
  refused("\"format_version\": 1", "\"format_version\": 2",
          "format_version: version 2, but this program reads version 1, so a newer voxtral-edge wrote it: update");
  refused("\"format_version\": 1", "\"format_version\": \"1\"", "format_version: expected an integer");
  refused("\"format_version\": 1", "\"format_version\": 0", "format_version: expected an integer");
  refused("\"name\": \"tiny-test\"", "\"name\": \"\"", "name: expected 1 to 255 bytes");
  const Fixture fixture;
  for (const std::string text : {"[]", "3", "null", "\"x\""}) {
    fixture.set_manifest(text);
    CHECK_CONTAINS(fixture.refusal(), "manifest.json: expected an object");
  }
  fixture.set_manifest("");
  CHECK_CONTAINS(fixture.refusal(), "the text ends where a value was expected");
}

TEST("precision table") {
  refused("\"adapter\": \"int4\"", "\"adapter\": \"int5\"",
          "precision.adapter: expected fp32, fp16, int8 or int4, found \"int5\"");
  refused("\"adapter\": \"int4\"", "\"other\": \"int4\"", "precision: missing \"adapter\"");
  refused("\"adapter\": \"int4\"", "\"adapter\": \"int8\"", "tensors.adapter.linear1.weight");
  refused("\"embedding\": \"int4\"", "\"embedding\": \"fp16\"",
          "stored in another precision than fp16, which its group has");
}

TEST("float precisions must match, too") {
  const Fixture fixture("fp16");
  fixture.edit("\"adapter\": \"fp16\"", "\"adapter\": \"fp32\"");
  CHECK_CONTAINS(fixture.refusal(), "tensors.adapter.linear1.weight: stored in another precision than fp32");
}

TEST("scales of another type are refused although everything else fits") {
  const Fixture fixture("int4");
  const std::string weights = read_file(fixture.folder / "weights.bin");
  const std::string entry = entry_of(fixture.manifest(), "adapter.linear1.scales");
  const std::uint64_t bytes = 2 * field(entry, "bytes"), offset = (weights.size() + 63) / 64 * 64;
  std::string moved = replaced(entry, "float16", "float32");
  moved = replaced(moved, "\"bytes\": " + std::to_string(bytes / 2), "\"bytes\": " + std::to_string(bytes));
  moved =
      replaced(moved, "\"offset\": " + std::to_string(field(entry, "offset")), "\"offset\": " + std::to_string(offset));
  fixture.edit(entry, moved);
  fixture.edit("\"weights.bin\": {\"bytes\": " + std::to_string(weights.size()),
               "\"weights.bin\": {\"bytes\": " + std::to_string(offset + bytes));
  std::filesystem::resize_file(fixture.folder / "weights.bin", offset + bytes);
  CHECK_CONTAINS(fixture.refusal(), "tensors.adapter.linear1.scales: expected float16 [60, 6], the scales of");
}

TEST("tensor entries: ranges") {
  const std::string name = "decoder.norm.weight";
  const std::string entry = entry_of(Fixture().manifest(), name);
  const std::string offset = "\"offset\": " + std::to_string(field(entry, "offset"));
  const std::string bytes = "\"bytes\": 208", path = "tensors.decoder.norm.weight";
  CHECK_CONTAINS(entry, bytes);  // 52 values
  refused_in_entry(name, offset, "\"offset\": 9223372036854775744", path + ": ends at byte 9223372036854775952");
  refused_in_entry(name, offset, "\"offset\": 9223372036854775808", "beyond 64 bits");
  refused_in_entry(name, offset, "\"offset\": -64", path + ".offset: expected an integer");
  refused_in_entry(name, offset, "\"offset\": 8", path + ".offset: expected a multiple of 64, found 8");
  refused_in_entry(name, offset, "\"offset\": 1e3", path + ".offset: expected an integer");
  refused_in_entry(name, offset, "\"offset\": 0", "overlap at byte 0");
  refused_in_entry(name, offset, "\"offset\": 128", "overlap at byte 128");
  const std::uint64_t at = field(entry, "offset");  // of the last tensor: one step of 64 either way is too far
  const auto moved = [](std::uint64_t to) { return "\"offset\": " + std::to_string(to); };
  refused_in_entry(name, offset, moved(at - 64), "overlap at byte " + std::to_string(at - 64));
  refused_in_entry(name, offset, moved(at + 64), path + ": ends at byte " + std::to_string(at + 64 + 208));
  refused_in_entry(name, bytes, "\"bytes\": 212", path + ".bytes: expected 208 for shape [52], found 212");
  refused_in_entry(name, bytes, "\"bytes\": 0", path + ".bytes: expected an integer between 1");
  refused_in_entry(name, "\"shape\": [52]", "\"shape\": [53]", path + ".bytes: expected 212 for shape [53]");
  refused_in_entry(name, "\"shape\": [52]", "\"shape\": [52, 1]",
                   "expected shape [52] from the configuration, found [52, 1]");
  refused_in_entry(name, "\"shape\": [52]", "\"shape\": [1099511627776, 1099511627776]",
                   path + ".shape: the sizes' product [1099511627776, 1099511627776] does not fit");
  refused_in_entry(name, "\"shape\": [52]", "\"shape\": [1099511627777]",
                   path + ".shape[0]: expected an integer between 1");
  refused_in_entry(name, "\"shape\": [52]", "\"shape\": [0]", path + ".shape[0]");
  refused_in_entry(name, "\"shape\": [52]", "\"shape\": []", path + ".shape: expected at least one dimension");
  refused_in_entry(name, "\"shape\": [52]", "\"shape\": [52,1,1,1,1]", path + ".shape: expected at most four");
  refused_in_entry(name, "\"shape\": [52]", "\"shape\": 52", path + ".shape: expected an array");
  refused_in_entry(name, "float32", "float16", path + ".bytes: expected 104");
  refused_in_entry(name, "float32", "bfloat16",
                   path + ".dtype: expected float32, float16 or uint8, found \"bfloat16\"");
  refused_in_entry(name, "weights.bin", "other.bin", path + ".file: expected \"weights.bin\"");
  refused_in_entry(name, "weights.bin", "../weights.bin", path + ".file: expected \"weights.bin\"");
}

TEST("tensor entries: the model's tensors, no more and no fewer") {
  refused("\"decoder.norm.weight\"", "\"decoder.norm.other\"", "tensors: missing \"decoder.norm.weight\"");
  refused("\"encoder.layers.1.ffn.up.weight\"", "\"encoder.layers.2.ffn.up.weight\"",
          "missing \"encoder.layers.1.ffn.up.weight\"");
  refused("\"decoder\": {\"layers\": 2", "\"decoder\": {\"layers\": 1",
          "not a tensor of a model with this configuration");
  refused("\"decoder\": {\"layers\": 2", "\"decoder\": {\"layers\": 3", "missing \"decoder.layers.2.");
  refused("\"ffn_width\": 100", "\"ffn_width\": 99", "expected shape [99, 52] from the configuration, found [100, 52]");
  refused("\"vocab_size\": 320", "\"vocab_size\": 321", "tokens.vocab_size: expected 321");
  refused("\"tensors\": {", "\"tensors\": {\"\": 1, ", "a tensor's name must have 1 to 255 bytes");
  refused("\"tensors\": {", "\"tensors\": {\"x\": 1, ", "tensors.x: expected an object, found 1");
  refused("\"tensors\": {", "\"tensors\": [], \"other\": {", "tensors: expected an object");
  std::string many = "\"tensors\": {";
  for (int i = 0; i <= 100'000; ++i) many += "\"" + std::to_string(i) + "\":0,";
  refused("\"tensors\": {", many, "tensors: expected at most 100000 tensors");
}

TEST("tensor entries: quantisation") {
  const std::string name = "decoder.layers.0.attention.q.weight", path = "tensors." + name;
  refused_in_entry(name, "\"bits\": 4", "\"bits\": 5", path + ".quantization.bits: expected 4 or 8");
  refused_in_entry(name, "\"bits\": 4", "\"bits\": 2",
                   path + ".quantization.bits: expected an integer between 4 and 8");
  refused_in_entry(name, "\"bits\": 4", "\"bits\": 8", path + ".quantization.zero_point: expected 128");
  refused_in_entry(name, "\"block\": 32", "\"block\": 64", path + ".quantization.block: expected 32, found 64");
  refused_in_entry(name, "\"symmetric\"", "\"affine\"",
                   path + ".quantization.scheme: expected \"symmetric\", found \"affine\"");
  refused_in_entry(name, "\"zero_point\": 8", "\"zero_point\": 7",
                   path + ".quantization.zero_point: expected 8, found 7");
  refused_in_entry(name, "\"matmul_nbits\"", "\"rows\"", path + ".quantization.layout");
  refused_in_entry(name, "\"rows\": 72", "\"rows\": 73", path + ".shape: expected [73, 2, 16]");
  refused_in_entry(name, "\"columns\": 52", "\"columns\": 65", path + ".shape: expected [72, 3, 16]");
  refused_in_entry(name, "\"columns\": 52", "\"columns\": 53",
                   "expected shape [72, 52] from the configuration, found [72, 53]");
  refused_in_entry(name, "\"columns\": 52", "\"columns\": 0", path + ".quantization.columns");
  refused_in_entry(name, "\"columns\": 52", "\"columns\": 9223372036854775807", path + ".quantization.columns");
  refused_in_entry(name, "attention.q.scales\"}", "attention.x.scales\"}",
                   "tensors: missing \"decoder.layers.0.attention.x.scales\"");
  refused_in_entry(name, "attention.q.scales\"}", "attention.k.scales\"}", "expected float16 [72, 2], the scales of");
  refused_in_entry(name, "decoder.layers.0.attention.q.scales\"}", "decoder.norm.weight\"}",
                   "expected float16 [72, 2]");
  refused_in_entry(name, "attention.q.scales\"}", "attention.o.scales\"}", "the scales of");
  refused_in_entry(name, "\"quantization\"", "\"quantisation\"", path + ": uint8 without \"quantization\"");
  refused_in_entry("decoder.layers.0.attention.k.weight", "attention.k.scales\"}", "attention.v.scales\"}",
                   "are used twice");
}

TEST("unknown fields are ignored and quantization may be null") {
  const Fixture fixture("fp32");
  fixture.edit("\"name\":", "\"future\": {\"a\": [1, 2]}, \"name\":");
  const std::string entry = entry_of(fixture.manifest(), "decoder.norm.weight");
  fixture.edit(entry, replaced(entry, "\"graphs\": []", "\"graphs\": [\"decoder\"], \"quantization\": null"));
  CHECK(Package::open(fixture.folder.path()) != nullptr);
}

TEST("truncated and bit-flipped manifests open or throw, nothing else") {
  const Fixture fixture;
  const std::string manifest = fixture.manifest();
  for (std::size_t size = 0; size < manifest.size(); size += 97) {
    fixture.set_manifest(manifest.substr(0, size));
    fixture.refusal();
  }
  std::size_t opened = 0;
  std::uint64_t random = 1;
  for (int i = 0; i < 2000; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    std::string flipped = manifest;
    flipped[(random >> 33) % flipped.size()] ^= static_cast<char>(1 << ((random >> 20) & 7));
    fixture.set_manifest(flipped);
    try {
      Package::open(fixture.folder.path());
      ++opened;  // the flip hit a field that does not matter (source, graphs) or a value that still fits
    } catch (const Error& error) {
      CHECK_EQ(error.code(), ErrorCode::model_format);
    }
  }
  CHECK(opened < 500);
}

TEST("hostile manifests stay below 64 MB of memory") {
  const Fixture fixture;
  const auto peak_kib = [] {
    struct rusage usage;
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const long before = peak_kib();
  // Written piece by piece: the test itself must not need the memory.
  const auto fill = [&](const std::string& head, const std::string& tail,
                        const std::function<std::string(int)>& piece) {
    std::ofstream out(fixture.folder / "manifest.json", std::ios::binary | std::ios::trunc);
    out << head;
    std::size_t written = head.size();
    for (int i = 0; written < (8 << 20) - 100; ++i) {
      const std::string text = piece(i);
      out << text;
      written += text.size();
    }
    out << tail;
  };
  fill("{\"x\":{}", "}", [](int i) { return ",\"" + std::to_string(i) + "\":{}"; });
  fixture.refusal();
  fill("[\"", "\"]", [](int) { return "\\u0041"; });
  fixture.refusal();
  fill("[0", "]", [](int) { return ",0"; });
  fixture.refusal();
  fill("", "", [](int) { return "["; });
  fixture.refusal();
  fill("", " ", [](int) { return " "; });
  fixture.refusal();
  fill("{\"" + std::string(4 << 20, 'k') + "\":0", "}", [](int i) { return ",\"" + std::to_string(i) + "\":\"\\n\""; });
  fixture.refusal();
  std::filesystem::resize_file(fixture.folder / "manifest.json", (8 << 20) + 1);
  CHECK_CONTAINS(fixture.refusal(), "manifest.json: 8388609 bytes are more than the 8388608 allowed");
#if !defined(__SANITIZE_ADDRESS__)  // its shadow memory and quarantine would be counted, too
  CHECK(peak_kib() - before < 64 * 1024);
#else
  CHECK(before > 0);
#endif
}

CHECK_MAIN()
