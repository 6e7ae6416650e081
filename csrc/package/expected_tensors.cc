#include "package/expected_tensors.h"

#include <utility>

namespace voxtral_edge {

namespace {

class Table {
 public:
  void add(std::string name, std::vector<std::size_t> shape, const char* group = nullptr) {
    entries_.push_back({std::move(name), std::move(shape), group});
  }

  // The four projections of an attention block; query and value widths differ under grouped heads.
  void add_attention(const std::string& layer, std::size_t width, std::size_t query_width, std::size_t kv_width,
                     const char* group) {
    add(layer + "attention_norm.weight", {width});
    add(layer + "attention.q.weight", {query_width, width}, group);
    add(layer + "attention.k.weight", {kv_width, width}, group);
    add(layer + "attention.v.weight", {kv_width, width}, group);
    add(layer + "attention.o.weight", {width, query_width}, group);
  }

  void add_ffn(const std::string& layer, std::size_t width, std::size_t ffn_width, const char* group) {
    add(layer + "ffn_norm.weight", {width});
    add(layer + "ffn.gate.weight", {ffn_width, width}, group);
    add(layer + "ffn.up.weight", {ffn_width, width}, group);
    add(layer + "ffn.down.weight", {width, ffn_width}, group);
  }

  std::vector<ExpectedTensor> take() { return std::move(entries_); }

 private:
  std::vector<ExpectedTensor> entries_;
};

void add_encoder(Table& table, const EncoderConfig& encoder) {
  constexpr std::size_t kernel = 3;  // both convolutions (spec 4)
  const std::size_t width = encoder.width;
  const std::size_t query_width = encoder.heads * encoder.head_dim, kv_width = encoder.kv_heads * encoder.head_dim;
  table.add("encoder.conv1.weight", {width, encoder.mel_bins, kernel});
  table.add("encoder.conv1.bias", {width});
  table.add("encoder.conv2.weight", {width, width, kernel});
  table.add("encoder.conv2.bias", {width});
  for (std::size_t i = 0; i < encoder.layers; ++i) {
    const std::string layer = "encoder.layers." + std::to_string(i) + ".";
    table.add_attention(layer, width, query_width, kv_width, "encoder.attention");
    table.add(layer + "attention.q.bias", {query_width});  // k has none (spec 2.1)
    table.add(layer + "attention.v.bias", {kv_width});
    table.add(layer + "attention.o.bias", {width});
    table.add_ffn(layer, width, encoder.ffn_width, "encoder.ffn");
    table.add(layer + "ffn.down.bias", {width});
  }
  table.add("encoder.norm.weight", {width});
}

void add_decoder(Table& table, const DecoderConfig& decoder) {
  const std::size_t width = decoder.width;
  table.add("decoder.embedding.weight", {decoder.vocab_size, width}, "embedding");
  for (std::size_t l = 0; l < decoder.layers; ++l) {
    const std::string layer = "decoder.layers." + std::to_string(l) + ".";
    table.add_attention(layer, width, decoder.heads * decoder.head_dim, decoder.kv_heads * decoder.head_dim,
                        "decoder.attention");
    table.add_ffn(layer, width, decoder.ffn_width, "decoder.ffn");
    table.add(layer + "delay.linear1.weight", {decoder.delay_condition_width, width});
    table.add(layer + "delay.linear2.weight", {width, decoder.delay_condition_width});
  }
  table.add("decoder.norm.weight", {width});
}

}  // namespace

const std::vector<std::string>& precision_groups() {
  static const std::vector<std::string> groups = {"encoder.attention", "encoder.ffn", "adapter",
                                                  "decoder.attention", "decoder.ffn", "embedding"};
  return groups;
}

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  Table table;
  add_encoder(table, config.encoder);
  table.add("adapter.linear1.weight", {config.adapter.hidden_width, config.adapter.input_width}, "adapter");
  table.add("adapter.linear2.weight", {config.adapter.output_width, config.adapter.hidden_width}, "adapter");
  add_decoder(table, config.decoder);
  return table.take();
}

}  // namespace voxtral_edge
