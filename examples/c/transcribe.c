/* Prints the words of a recording or of a live microphone as they come, each with its times in seconds.
 *
 *   ./transcribe PACKAGE speech.wav
 *   arecord -q -t raw -f S16_LE -r 16000 -c 1 | ./transcribe PACKAGE
 *
 * PACKAGE is a folder that `voxtral-edge export` made. Audio is 16-bit, 16 kHz, mono: a WAV file, or bare samples on
 * standard input. README.md has the line that builds this. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <voxtral_edge.h>

#define STEP_SAMPLES 1280 /* 80 ms, one step of the model: words come no sooner with smaller pieces */

static int failed(void) {
  fprintf(stderr, "transcribe: %s\n", ve_last_error());
  return 1;
}

static uint32_t little_endian(const unsigned char* bytes, int count) {
  uint32_t value = 0;
  while (count-- > 0) value = value << 8 | bytes[count];
  return value;
}

/* Moves `file` to the first sample of a WAV file. Returns the bytes of samples, or 0 if it is none of the kind we take.
 */
static uint32_t skip_wav_header(FILE* file) {
  unsigned char head[12], chunk[8], format[16];
  int format_fits = 0;
  if (fread(head, 1, 12, file) != 12 || memcmp(head, "RIFF", 4) != 0 || memcmp(head + 8, "WAVE", 4) != 0) return 0;
  while (fread(chunk, 1, 8, file) == 8) {
    uint32_t bytes = little_endian(chunk + 4, 4);
    if (memcmp(chunk, "data", 4) == 0) return format_fits ? bytes : 0;
    bytes += bytes & 1; /* chunks begin at even places */
    if (memcmp(chunk, "fmt ", 4) == 0 && bytes >= sizeof format) {
      if (fread(format, 1, sizeof format, file) != sizeof format) return 0;
      format_fits = little_endian(format, 2) == 1 && little_endian(format + 2, 2) == 1 &&
                    little_endian(format + 4, 4) == 16000 && little_endian(format + 14, 2) == 16;
      bytes -= sizeof format;
    }
    if (fseek(file, (long)bytes, SEEK_CUR) != 0) return 0;
  }
  return 0;
}

/* Prints the words that have become known. */
static int print_words(ve_stream* stream) {
  const ve_event* event;
  for (;;) {
    if (ve_stream_next_event(stream, &event) != VE_OK) return failed();
    if (event == NULL) return 0;
    if (event->type != VE_EVENT_WORD) continue;
    printf("%8.2f %8.2f  %s\n", event->start_s, event->end_s, event->text);
    if (fflush(stdout) != 0) return perror("transcribe: writing words"), 1;
  }
}

/* Reads until the end of the audio, or `left` samples. */
static int transcribe(ve_stream* stream, FILE* audio, uint64_t left) {
  unsigned char bytes[2 * STEP_SAMPLES];
  int16_t samples[STEP_SAMPLES];
  size_t count, i;
  while ((count = fread(bytes, 2, left < STEP_SAMPLES ? left : STEP_SAMPLES, audio)) > 0) {
    left -= count;
    for (i = 0; i < count; ++i) samples[i] = (int16_t)little_endian(bytes + 2 * i, 2);
    if (ve_stream_feed_i16(stream, samples, count) != VE_OK) return failed();
    if (print_words(stream) != 0) return 1;
  }
  if (ferror(audio)) return perror("transcribe: reading audio"), 1;
  if (ve_stream_finish(stream) != VE_OK) return failed();
  return print_words(stream);
}

int main(int argc, char** argv) {
  ve_engine* engine = NULL;
  ve_stream* stream = NULL;
  ve_stream_options options = VE_STREAM_OPTIONS_INIT;
  FILE* audio = stdin;
  uint64_t samples = UINT64_MAX;
  int result;
  if (argc != 2 && argc != 3) {
    fprintf(stderr, "usage: transcribe PACKAGE [FILE.wav], else 16-bit 16 kHz mono samples on standard input\n");
    return 2;
  }
  if (argc == 3) {
    if ((audio = fopen(argv[2], "rb")) == NULL) return perror(argv[2]), 1;
    if ((samples = skip_wav_header(audio) / 2) == 0) {
      fprintf(stderr,
              "transcribe: %s is no 16-bit 16 kHz mono WAV file; ffmpeg -i IN -ac 1 -ar 16000 OUT.wav makes one\n",
              argv[2]);
      fclose(audio);
      return 1;
    }
    options.recorded = 1;
  }
  if (ve_engine_load(argv[1], NULL, &engine) != VE_OK || ve_stream_create(engine, &options, &stream) != VE_OK) {
    result = failed();
  } else {
    result = transcribe(stream, audio, samples);
  }
  ve_stream_free(stream);
  ve_engine_free(engine);
  if (audio != stdin) fclose(audio);
  return result;
}
