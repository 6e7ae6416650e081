// Stream for Python: arrays in, events as dicts out, the GIL released while computing.
#include "engine/stream.h"

#include <pybind11/stl.h>

#include <optional>
#include <tuple>
#include <utility>

#include "audio/pcm.h"
#include "base/error.h"
#include "bindings/bindings.h"
#include "engine/stream_group.h"

namespace voxtral_edge {
namespace {

// int16 is PCM; float32 is taken as it is.
std::vector<float> to_samples(const py::array& pcm) {
  if (pcm.ndim() != 1) {
    throw Error(ErrorCode::audio_format,
                "pcm has " + std::to_string(pcm.ndim()) + " dimensions; give one-dimensional mono samples at 16 kHz");
  }
  const auto count = static_cast<std::size_t>(pcm.size());
  std::vector<float> samples(count);
  if (py::isinstance<py::array_t<std::int16_t>>(pcm)) {
    const auto values = pcm.cast<py::array_t<std::int16_t, py::array::c_style>>();
    pcm16_to_float({values.data(), count}, samples.data());
  } else if (py::isinstance<py::array_t<float>>(pcm)) {
    const auto values = pcm.cast<py::array_t<float, py::array::c_style>>();
    std::copy_n(values.data(), count, samples.data());
  } else {
    throw Error(ErrorCode::audio_format,
                "pcm has dtype " + py::str(pcm.dtype()).cast<std::string>() + "; give float32 in [-1, 1] or int16");
  }
  return samples;
}

py::dict to_dict(const Event& event) {
  py::dict result;
  switch (event.type) {
    case EventType::text:
      result["type"] = "text";
      result["text"] = event.text;
      break;
    case EventType::word:
      result["type"] = "word";
      result["text"] = event.text;
      result["start"] = event.start_s;
      result["end"] = event.end_s;
      result["probability"] = event.probability;
      break;
    case EventType::segment:
      result["type"] = "segment";
      result["time"] = event.start_s;
      break;
    case EventType::final:
      result["type"] = "final";
      result["text"] = event.text;
      break;
  }
  result["token"] = event.token_index;
  return result;
}

py::list to_list(const Events& events) {
  py::list result;
  for (const Event& event : events) result.append(to_dict(event));
  return result;
}

// Runs `call` without the GIL and returns its events. Events of a call that failed half way are lost with its error.
template <class Call>
py::list without_gil(Call&& call) {
  Events events;
  {
    const py::gil_scoped_release release;
    call(events);
  }
  return to_list(events);
}

py::dict stats_dict(const Stream& stream) {
  const StreamStats& s = stream.stats();
  py::dict result;
  result["fed_samples"] = s.fed_samples;
  result["replaced_samples"] = s.replaced_samples;
  result["saturated_numbers"] = stream.saturated_numbers();
  result["gain_decibels"] = s.gain_decibels;
  result["encoded_tokens"] = s.encoded_tokens;
  result["generated_tokens"] = s.generated_tokens;
  result["encode_calls"] = s.encode_calls;
  result["decode_calls"] = s.decode_calls;
  result["drafted_tokens"] = s.drafted_tokens;
  result["accepted_drafts"] = s.accepted_drafts;
  result["mel_ns"] = s.mel_ns;
  result["encode_ns"] = s.encode_ns;
  result["decode_ns"] = s.decode_ns;
  if (stream.engine().times_stages()) {
    result["conv_ns"] = s.encode_times.conv_ns;
    result["encoder_ns"] = s.encode_times.encoder_ns;
    result["adapter_ns"] = s.encode_times.adapter_ns;
    result["decoder_ns"] = s.decode_times.decoder_ns;
    result["head_ns"] = s.decode_times.head_ns;
  }
  return result;
}

FloatArray rows(const std::vector<float>& values, std::size_t width) {
  const auto columns = static_cast<py::ssize_t>(width);
  return to_array(values.data(), {static_cast<py::ssize_t>(values.size()) / columns, columns});
}

py::dict trace_dict(const Stream& stream) {
  const StreamTrace& trace = stream.trace();
  const ModelConfig& c = stream.config();
  std::vector<std::int64_t> ids{c.tokens.bos};
  ids.insert(ids.end(), stream.prompt_tokens() - 1, c.tokens.streaming_pad);
  ids.insert(ids.end(), stream.token_ids().begin(), stream.token_ids().end());
  py::dict result;
  result["mel"] = rows(trace.mel, c.encoder.mel_bins).attr("T");
  result["encoder"] = rows(trace.encoder, c.encoder.width);
  result["projector"] = rows(trace.projector, c.decoder.width);
  result["logits"] = rows(trace.logits, c.decoder.vocab_size);
  result["ids"] = py::array_t<std::int64_t>(static_cast<py::ssize_t>(ids.size()), ids.data());
  result["prompt_len"] = stream.prompt_tokens();
  return result;
}

// Unmapping the attention state of a long stream takes 0.1 s at full size (4 KiB pages): other Python threads, whose
// streams want their next step within 80 ms, go on meanwhile.
struct DeleteWithoutGil {
  void operator()(Stream* stream) const {
    const py::gil_scoped_release release;
    delete stream;
  }
};
using StreamHolder = std::unique_ptr<Stream, DeleteWithoutGil>;

StreamHolder make_stream(BoundEngine& engine, std::size_t delay_tokens, std::size_t max_batch_tokens,
                         std::optional<std::size_t> max_drafts, std::uint64_t start_token_position,
                         std::shared_ptr<BiasTree> bias, std::optional<PadRunPenalty> pad_run_penalty,
                         std::optional<float> gain_decibels, bool stop_at_eos, bool trace, bool keep_history,
                         std::vector<std::uint32_t> replayed_ids, bool assume_full_cache) {
  const StreamOptions options{.delay_tokens = delay_tokens,
                              .max_batch_tokens = max_batch_tokens,
                              .max_drafts = max_drafts,
                              .gain = {gain_decibels},
                              .start_token_position = start_token_position,
                              .bias = std::move(bias),
                              .pad_run_penalty = pad_run_penalty,
                              .stop_at_eos = stop_at_eos,
                              .keep_history = keep_history,
                              .trace = trace,
                              .replayed_ids = std::move(replayed_ids),
                              .assume_full_cache = assume_full_cache};
  const py::gil_scoped_release release;
  return StreamHolder(new Stream(engine.engine(), engine.tokenizer(), options));
}

StreamAction action_named(const std::string& name) {
  if (name == "feed") return StreamAction::feed;
  if (name == "feed_more") return StreamAction::feed_more;
  if (name == "flush") return StreamAction::flush;
  if (name == "finish") return StreamAction::finish;
  if (name == "resume") return StreamAction::resume;
  throw Error(ErrorCode::usage, "action: \"" + name + "\" is not one of feed, feed_more, flush, finish, resume");
}

// [(stream, pcm or None, action), ...] -> one list of events per item, in order.
// The copies of the tuples keep the streams alive: while the GIL is released, the caller's list may change.
py::list run_group(const std::vector<std::tuple<py::object, std::optional<py::array>, std::string>>& items,
                   std::optional<std::size_t> max_rounds, std::optional<std::size_t> max_tokens) {
  RunBounds bounds;
  bounds.rounds = max_rounds.value_or(bounds.rounds);
  bounds.tokens = max_tokens.value_or(bounds.tokens);
  std::vector<std::vector<float>> samples(items.size());
  std::vector<Events> events(items.size());
  std::vector<StreamWork> work;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto& [stream, pcm, action] = items[i];
    if (!py::isinstance<Stream>(stream)) {
      throw Error(ErrorCode::usage, "items: number " + std::to_string(i) + " begins with something else than a Stream");
    }
    if (pcm) samples[i] = to_samples(*pcm);
    work.push_back({stream.cast<Stream*>(), action_named(action), samples[i], &events[i]});
  }
  {
    const py::gil_scoped_release release;
    run_streams(work, bounds);
  }
  py::list result;
  for (const Events& of_one : events) result.append(to_list(of_one));
  return result;
}

}  // namespace

void bind_stream(py::module_& module) {
  py::class_<PadRunPenalty>(
      module, "PadRunPenalty",
      "What a pad's logit loses in a long run of pads: min(most, per_token * (run - after_tokens)).")
      .def(py::init([](std::uint64_t after_tokens, float per_token, float most) {
             return PadRunPenalty{after_tokens, per_token, most};
           }),
           py::kw_only(), py::arg("after_tokens") = PadRunPenalty{}.after_tokens,
           py::arg("per_token") = PadRunPenalty{}.per_token, py::arg("most") = PadRunPenalty{}.most);
  py::class_<Stream, StreamHolder>(module, "Stream")
      .def(py::init(&make_stream), py::arg("engine"), py::kw_only(), py::arg("delay_tokens"),
           py::arg("max_batch_tokens") = 0, py::arg("max_drafts") = py::none(), py::arg("start_token_position") = 0,
           py::arg("bias") = nullptr, py::arg("pad_run_penalty") = py::none(), py::arg("gain_decibels") = 0.0f,
           py::arg("stop_at_eos") = false, py::arg("trace") = false, py::arg("keep_history") = true,
           py::arg("replayed_ids") = std::vector<std::uint32_t>(), py::arg("assume_full_cache") = false,
           py::keep_alive<1, 2>())
      .def(
          "feed",
          [](Stream& stream, const py::array& pcm, bool more) {
            const std::vector<float> samples = to_samples(pcm);
            return without_gil(
                [&](Events& events) { more ? stream.feed_more(samples, events) : stream.feed(samples, events); });
          },
          py::arg("pcm"), py::arg("more") = false)
      .def("flush", [](Stream& stream) { return without_gil([&](Events& events) { stream.flush(events); }); })
      .def("finish", [](Stream& stream) { return without_gil([&](Events& events) { stream.finish(events); }); })
      .def("reset", &Stream::reset, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("finished", &Stream::finished)
      .def_property_readonly("busy", &Stream::busy)
      .def_property_readonly("failed", &Stream::failed)
      .def_property_readonly("token_ids", [](const Stream& stream) { return stream.token_ids(); })
      .def_property_readonly("text", [](const Stream& stream) { return stream.text(); })
      .def("stats", &stats_dict)
      .def("trace", &trace_dict)
      .def("take_logits",
           [](Stream& stream) { return rows(stream.take_logits(), stream.config().decoder.vocab_size); });
  module.def(
      "run_streams", &run_group, py::arg("items"), py::arg("max_rounds") = py::none(),
      py::arg("max_tokens") = py::none(),
      "Runs [(stream, pcm or None, \"feed\" | \"feed_more\" | \"flush\" | \"finish\" | \"resume\"), ...] of one engine "
      "in shared "
      "passes "
      "over the weights; returns one list of events per item. With bounds (rounds of one encode and one decode pass; "
      "tokens of one stream in one pass), streams that are `busy` afterwards must be resumed in a later call.");
}

}  // namespace voxtral_edge
