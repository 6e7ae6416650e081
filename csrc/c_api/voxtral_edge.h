/* voxtral-edge in C: live speech to text on the CPU of small devices. docs/c-api.md is the guide. C90 and later, C++98
 * and later.
 *
 *   ve_engine* engine;                                    the model; shared by any number of streams
 *   ve_stream* stream;
 *   const ve_event* event;
 *   ve_engine_load("voxtral-4b", NULL, &engine);
 *   ve_stream_create(engine, NULL, &stream);
 *   while (record(samples)) {                             16 kHz, mono, pieces of any size
 *     ve_stream_feed_i16(stream, samples, count);
 *     while (ve_stream_next_event(stream, &event) == VE_OK && event) {
 *       if (event->type == VE_EVENT_TEXT) fputs(event->text, stdout);
 *     }
 *   }
 *   ve_stream_finish(stream);                             and take the last events
 *   ve_stream_free(stream);
 *   ve_engine_free(engine);
 *
 * Errors    Every function that can fail returns a status; VE_OK is 0. ve_last_error() says what, where and what to do.
 *           Nothing is printed, and no C++ exception leaves the library. A call that fails with VE_ERROR_USAGE has
 *           changed nothing; after any other failure of a feed, flush, finish or run, the streams in it can only be
 *           read, reset and freed. "Errors" below leaves out VE_ERROR_USAGE for null pointers, and VE_ERROR_INTERNAL.
 * Threads   "Any" below: any thread at any time. "One acts": while a thread is in such a function with a stream, any
 *           other gets VE_ERROR_USAGE from them, which loses nothing but that call. "Reads": waits until the one that
 *           acts is done. Different streams need no care. Nothing may use what another thread frees.
 * Memory    What ve_engine_load and ve_stream_create give is freed with ve_engine_free and ve_stream_free, in any
 *           order. Pointers inside results belong to the library; each function says how long they stay. What a
 *           function is given (options, strings, samples) belongs to the caller and is not used after it returns.
 * Strings   UTF-8, ended by a zero byte.
 * Versions  Structures begin with their size and grow only at their end. Make them with their ..._INIT, or fill them
 *           with zeros and set struct_size = sizeof: a zero always means the default. Programs built with an older
 *           header run with a newer library of the same soname. */
#ifndef VOXTRAL_EDGE_H
#define VOXTRAL_EDGE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define VE_API __attribute__((visibility("default")))
#else
#define VE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define VE_VERSION_MAJOR 0
#define VE_VERSION_MINOR 1
#define VE_VERSION_PATCH 0
#define VE_VERSION_NUMBER(major, minor, patch) ((major) * 1000000u + (minor) * 1000u + (patch))

/* The library in use as "major.minor.patch", which may differ from the header's VE_VERSION_...; never freed.
 * Threads: any. */
VE_API const char* ve_version(void);

/* The same as a number, to be compared with VE_VERSION_NUMBER(0, 1, 0).
 * Threads: any. */
VE_API uint32_t ve_version_number(void);

/* ---------------------------------------------------------------------------------------------------------- errors */

typedef int32_t ve_status;
enum {
  VE_OK = 0,
  VE_ERROR_USAGE = 1,         /* the caller broke a rule of this header: null pointer, bad option, feed after finish */
  VE_ERROR_MODEL_FORMAT = 2,  /* the package is missing, damaged or of another version */
  VE_ERROR_DEVICE = 3,        /* what this machine does not offer: an instruction set, threads, a CPU */
  VE_ERROR_OUT_OF_MEMORY = 4, /* less memory than is needed, or than the weights will need */
  VE_ERROR_CANCELLED = 5,     /* a callback asked for it */
  VE_ERROR_INTERNAL = 6       /* an error of ours: please report it with the message */
};

/* "VE_OK", "VE_ERROR_USAGE" ..., "unknown status"; never freed.
 * Threads: any. */
VE_API const char* ve_status_name(ve_status status);

/* What went wrong in the last failed call of this thread: one line, at most 1000 bytes. Empty if none failed. Stays
 * until the next failed call of this thread, or its end. Languages that move between threads (Go) must call the
 * function and this one without a change of thread between them.
 * Threads: any; each has its own message. */
VE_API const char* ve_last_error(void);

/* ---------------------------------------------------------------------------------------------------------- engine */

/* A loaded model. Immutable. */
typedef struct ve_engine ve_engine;

/* Called while weights are loaded, on the thread that loads, with bytes done and in all. 0: go on; anything else ends
 * loading with VE_ERROR_CANCELLED. */
typedef int32_t (*ve_load_progress)(void* user_data, uint64_t done_bytes, uint64_t total_bytes);

typedef struct ve_engine_options {
  size_t struct_size;
  const char* affinity;            /* CPUs of the worker threads: "auto", "0-3,6", "off"; NULL: VOXTRAL_EDGE_AFFINITY */
  const char* kv_cache;            /* attention state: "f32", "f16", "int8"; NULL or "auto": by the weights */
  const char* kernels;             /* instruction set: "avx2", "neon_dotprod" ...; NULL: the best that this CPU has */
  const char* packed_cache_folder; /* a folder for a file of permuted weights, to start quicker; NULL: none */
  ve_load_progress on_progress;    /* NULL: none */
  void* user_data;                 /* for on_progress */
  uint32_t threads;                /* 1 .. 1024; 0: the fast CPUs, at most 8 */
  uint32_t packed_cache_read_only; /* not 0: use such a file if it is there, but make none */
} ve_engine_options;
#define VE_ENGINE_OPTIONS_INIT {sizeof(ve_engine_options), NULL, NULL, NULL, NULL, NULL, NULL, 0, 0}

/* Opens the package folder that `voxtral-edge export` made and loads its weights, which takes as long as reading them
 * three to five times. options: NULL for the defaults. *engine is the caller's, to be freed with ve_engine_free; NULL
 * after an error. A packed cache that cannot be used or made is no error: see ve_engine_info.
 * Errors: VE_ERROR_USAGE, an option that is not allowed; VE_ERROR_MODEL_FORMAT; VE_ERROR_DEVICE;
 * VE_ERROR_OUT_OF_MEMORY, before loading if weights that are not mapped cannot fit (swap, control groups and ulimit -v
 * are counted in); VE_ERROR_CANCELLED.
 * Threads: any. It starts options->threads - 1 worker threads, which belong to the engine. */
VE_API ve_status ve_engine_load(const char* package_folder, const ve_engine_options* options, ve_engine** engine);

/* Gives the engine back; its memory and threads go with its last stream. NULL is allowed.
 * Threads: any, once no other uses the handle. */
VE_API void ve_engine_free(ve_engine* engine);

/* Strings stay as long as the engine has not been freed. */
typedef struct ve_engine_info {
  size_t struct_size;
  const char* name;       /* of the model, from the package */
  const char* kernels;    /* instruction set in use */
  const char* encoder_kv; /* how attention state is stored: "f32", "f16", "int8" */
  const char* decoder_kv;
  const char* packed_cache_state; /* "off", "mapped", "written", "failed": loaded without, see packed_cache_note */
  const char* packed_cache_note;  /* why the packed cache could not be used or made; empty if it could */
  uint64_t weight_bytes;          /* of the engine, shared by its streams */
  uint64_t state_bytes;           /* of each stream, once its windows are full */
  uint32_t threads;               /* that compute, the calling one included */
  uint32_t sample_rate_hz;        /* of the samples to feed: 16000 */
  uint32_t samples_per_token;     /* a step of the model: 1280 samples, 80 ms */
  uint32_t reserved;              /* 0 */
} ve_engine_info;
#define VE_ENGINE_INFO_INIT {sizeof(ve_engine_info), NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0}

/* Fills *info, which is the caller's and whose struct_size must be set.
 * Errors: VE_ERROR_USAGE, struct_size.
 * Threads: any. */
VE_API ve_status ve_engine_get_info(const ve_engine* engine, ve_engine_info* info);

/* ---------------------------------------------------------------------------------------------------------- stream */

/* One conversation, recording or microphone. */
typedef struct ve_stream ve_stream;

typedef struct ve_stream_options {
  size_t struct_size;
  uint32_t delay_ms;         /* how far text stays behind the audio: 80 .. 1200 in steps of 80, or 2400; 0: 480 */
  float gain_decibels;       /* on every sample before the model hears it, -60 .. 60 */
  uint32_t automatic_gain;   /* not 0: follow the level of the speech instead (gain_decibels must be 0) */
  uint32_t break_pad_runs;   /* not 0: after 16 s without a word make silence less and less likely (docs/live.md) */
  uint32_t recorded;         /* not 0: feed comes from a recording, more follows at once: quicker, events later */
  uint32_t discard_history;  /* not 0: constant memory; ve_stream_text, token ids and the final event stay empty */
  uint32_t max_batch_tokens; /* tokens of waiting audio per pass of the encoder, at most 4096; 0: the engine's choice */
  uint32_t reserved;         /* 0 */
  const char* hotwords;      /* phrases that are likely to be said, as they are written, one per line, each with an
                              * optional " :weight" above 0 .. 20 logits (docs/biasing.md); NULL: none */
} ve_stream_options;
#define VE_STREAM_OPTIONS_INIT {sizeof(ve_stream_options), 0, 0.0f, 0, 0, 0, 0, 0, 0, NULL}

/* A new stream. options: NULL for the defaults. *stream is the caller's, to be freed with ve_stream_free; NULL after an
 * error. It keeps the engine's memory. The first stream of a delay computes about a second of silence on a slow device,
 * the first with hotwords sorts the vocabulary (0.05 s on a PC); do it before the microphone opens.
 * Errors: VE_ERROR_USAGE, an option that is not allowed; VE_ERROR_MODEL_FORMAT, weights or a tokenizer that give no
 * results; VE_ERROR_OUT_OF_MEMORY.
 * Threads: any. */
VE_API ve_status ve_stream_create(const ve_engine* engine, const ve_stream_options* options, ve_stream** stream);

/* Ends the stream and frees its memory. NULL is allowed.
 * Threads: any; waits for a call that another thread is in, but none may begin. */
VE_API void ve_stream_free(ve_stream* stream);

/* Adds `count` >= 0 samples, 16 kHz mono in [-1, 1], and computes every step (80 ms, 1280 samples) that they complete:
 * the call takes as long as that takes. However the audio is cut into pieces, the tokens are the same. NaN and infinite
 * samples count as silence.
 * Errors: VE_ERROR_USAGE, after ve_stream_finish or a failure; VE_ERROR_MODEL_FORMAT, the weights give no numbers;
 * VE_ERROR_OUT_OF_MEMORY.
 * Threads: one acts. */
VE_API ve_status ve_stream_feed_f32(ve_stream* stream, const float* samples, size_t count);

/* The same with 16-bit samples, full scale 32768.
 * Errors: as ve_stream_feed_f32.
 * Threads: one acts. */
VE_API ve_status ve_stream_feed_i16(ve_stream* stream, const int16_t* samples, size_t count);

/* Brings out the text that is still behind the delay, as if silence followed; more may be fed.
 * Errors: as ve_stream_feed_f32.
 * Threads: one acts. */
VE_API ve_status ve_stream_flush(ve_stream* stream);

/* Ends the audio. The last event is VE_EVENT_FINAL; then only ve_stream_reset and reading are possible.
 * Errors: as ve_stream_feed_f32.
 * Threads: one acts. */
VE_API ve_status ve_stream_finish(ve_stream* stream);

/* An empty stream with the same options again, without allocating its memory anew. Events not taken are lost.
 * Errors: VE_ERROR_MODEL_FORMAT, VE_ERROR_OUT_OF_MEMORY, as ve_stream_create.
 * Threads: one acts. */
VE_API ve_status ve_stream_reset(ve_stream* stream);

/* --------------------------------------------------------------------------------------------------------- results */

typedef int32_t ve_event_type;
enum {
  VE_EVENT_TEXT = 1,    /* new text, to be appended to what came before; never taken back */
  VE_EVENT_WORD = 2,    /* a word is complete, with its times; its text came before in VE_EVENT_TEXT */
  VE_EVENT_SEGMENT = 3, /* the model marked an end at start_s; the stream goes on */
  VE_EVENT_FINAL = 4    /* the stream is finished; text is all of it */
};

typedef struct ve_event {
  ve_event_type type;   /* ignore types you do not know */
  float probability;    /* WORD: 0 .. 1 */
  const char* text;     /* TEXT, WORD, FINAL; else empty */
  size_t text_bytes;    /* without the zero byte at the end */
  double start_s;       /* WORD, SEGMENT: seconds of the audio that was fed */
  double end_s;         /* WORD, SEGMENT */
  uint64_t token_index; /* the step (80 ms each, from 0) that caused the event */
} ve_event;

/* The next event in order, or NULL in *event if there is none. Events wait until they are taken, at any cost in memory.
 * *event and its text belong to the stream and stay until the next call of this function, or the next feed, flush,
 * finish, reset, run or free, with the same stream.
 * Errors: none besides null pointers.
 * Threads: reads; what it gives is safe while no other thread acts on the stream or takes events. */
VE_API ve_status ve_stream_next_event(ve_stream* stream, const ve_event** event);

/* All text so far. bytes: its length without the zero byte, or NULL. *text belongs to the stream and stays until the
 * next feed, flush, finish, reset, run or free.
 * Errors: none besides null pointers.
 * Threads: reads; what it gives is safe while no other thread acts on the stream. */
VE_API ve_status ve_stream_text(const ve_stream* stream, const char** text, size_t* bytes);

/* All token ids so far, `count` of them, one per 80 ms, those of silence included. *ids belongs to the stream and stays
 * as its text does.
 * Errors: none besides null pointers.
 * Threads: reads; what it gives is safe while no other thread acts on the stream. */
VE_API ve_status ve_stream_token_ids(const ve_stream* stream, const uint32_t** ids, size_t* count);

/* Counted from the creation or last reset. The device keeps up while compute_ns grows by less than 80 000 000 per
 * generated token (1 000 000 000 per 16000 fed samples). */
typedef struct ve_stats {
  size_t struct_size;
  uint64_t fed_samples;
  uint64_t replaced_samples; /* NaN or infinite, taken as silence */
  uint64_t generated_tokens; /* steps done, 80 ms each */
  uint64_t compute_ns;       /* nanoseconds this stream took or took part in, and waited for other streams' passes */
  uint64_t mel_ns;           /* of which the front end, */
  uint64_t encode_ns;        /* the encoder, */
  uint64_t decode_ns;        /* and the decoder */
  uint64_t encode_calls;
  uint64_t decode_calls;
  uint64_t drafted_tokens;    /* guessed where audio waited, */
  uint64_t accepted_drafts;   /* and guessed right */
  uint64_t saturated_numbers; /* attention state beyond half precision, cut: use kv_cache "f32" where it is not 0 */
  double gain_decibels;       /* on the next samples */
} ve_stats;
#define VE_STATS_INIT {sizeof(ve_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0}

/* Fills *stats, which is the caller's and whose struct_size must be set.
 * Errors: VE_ERROR_USAGE, struct_size.
 * Threads: reads; a second thread may watch a stream with it. */
VE_API ve_status ve_stream_get_stats(const ve_stream* stream, ve_stats* stats);

/* ---------------------------------------------------------------------------------------------------------- groups */

typedef int32_t ve_action;
enum { VE_FEED = 1, VE_FLUSH = 2, VE_FINISH = 3 };

/* What is to be done with one of several streams. */
typedef struct ve_work {
  size_t struct_size;
  ve_stream* stream;
  const float* samples; /* VE_FEED: 16 kHz mono in [-1, 1] */
  size_t count;         /* samples */
  ve_action action;
  uint32_t reserved; /* 0 */
} ve_work;
#define VE_WORK_INIT {sizeof(ve_work), NULL, NULL, 0, 0, 0}

/* Does the work of several streams of one engine together, `count` items: each step reads the weights once for all of
 * them, which is what a step costs on most devices. Each stream's results are those it would have alone, and its events
 * wait in it. work[0].struct_size is the distance of the items in bytes.
 * Errors: as ve_stream_feed_f32. If one piece of work is not allowed (VE_ERROR_USAGE: a stream that appears twice, is
 * finished, in use, or of another engine), nothing is done.
 * Threads: one acts, on each of the streams. */
VE_API ve_status ve_run_streams(const ve_work* work, size_t count);

#ifdef __cplusplus
}
#endif

#endif /* VOXTRAL_EDGE_H */
