// Text to tokens, and hotwords made ready for streams.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "decode/bias.h"
#include "engine/hotwords.h"
#include "text/text_encoder.h"

namespace voxtral_edge {
namespace {

using Pairs = std::vector<std::pair<std::string, double>>;

std::vector<Hotword> to_hotwords(const Pairs& pairs) {
  std::vector<Hotword> result;
  for (const auto& [phrase, weight] : pairs) result.push_back({phrase, weight});
  return result;
}

Pairs to_pairs(const std::vector<Hotword>& hotwords) {
  Pairs result;
  for (const Hotword& hotword : hotwords) result.emplace_back(hotword.phrase, hotword.weight);
  return result;
}

py::bytes piece(const TextEncoder& encoder, std::uint32_t id) { return py::bytes(encoder.tokenizer().bytes(id)); }

std::vector<std::pair<std::string, bool>> spellings(std::string_view phrase) {
  std::vector<std::pair<std::string, bool>> result;
  for (const HotwordSpelling& spelling : spellings_of(phrase)) result.emplace_back(spelling.text, spelling.opening);
  return result;
}

std::shared_ptr<BiasTree> tree_of(const TextEncoder& encoder, const Pairs& checked) {
  // The binding's holder is not const; nothing can be changed through it.
  return std::const_pointer_cast<BiasTree>(hotword_tree(to_hotwords(checked), encoder));
}

}  // namespace

void bind_text(py::module_& module) {
  py::class_<BiasTree, std::shared_ptr<BiasTree>>(module, "BiasTree", "Hotwords as a stream takes them.");
  py::class_<TextEncoder, std::shared_ptr<TextEncoder>>(module, "TextEncoder", "Text to token ids.")
      .def(py::init([](const std::string& path) {
             return std::make_shared<TextEncoder>(std::make_shared<const Tekken>(Tekken::load(path, std::nullopt)));
           }),
           py::arg("path"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("special_count", [](const TextEncoder& e) { return e.tokenizer().special_count(); })
      .def_property_readonly("vocab_size", [](const TextEncoder& e) { return e.tokenizer().vocab_size(); })
      .def("encode", &TextEncoder::encode, py::arg("text"), py::call_guard<py::gil_scoped_release>())
      .def("piece", &piece, py::arg("token_id"))
      .def("hotword_tree", &tree_of, py::arg("checked"), py::call_guard<py::gil_scoped_release>(),
           "The tree of [(phrase, weight), ...] that a stream takes as `bias`; None for no phrases.");
  module.def(
      "checked_hotwords", [](const Pairs& pairs) { return to_pairs(checked_hotwords(to_hotwords(pairs))); },
      py::arg("pairs"), "[(phrase, weight), ...] normalised; UsageError naming the item that is not allowed.");
  module.def(
      "parse_hotwords", [](std::string_view text, char separator) { return to_pairs(parse_hotwords(text, separator)); },
      py::arg("text"), py::arg("separator"), "The same from `phrase` or `phrase :weight` between separators.");
  module.def("hotword_spellings", &spellings, py::arg("phrase"), "[(text, opening), ...] of a normalised phrase.");
}

}  // namespace voxtral_edge
