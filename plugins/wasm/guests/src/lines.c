// lines.wasm: a command of ABI stdio_1. Of each event it appends the position to "positions", and
// keeps it under the name of the stream. An event of type Odd it parks, and at one of type Broken it
// says so and ends with exit code 3.
#include <stdint.h>

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) extern

struct vector {
  const char *at;
  uint32_t length;
};

WASI(fd_read) int32_t fd_read(int32_t file, const struct vector *vectors, int32_t count, uint32_t *did);
WASI(fd_write) int32_t fd_write(int32_t file, const struct vector *vectors, int32_t count, uint32_t *did);
WASI(proc_exit) _Noreturn void proc_exit(int32_t code);

static char in[12 << 20], out[4 << 20];
static char *end = in, *to = out;

static void write(int32_t file, const char *text, uint32_t length) {
  struct vector v = {text, length};
  uint32_t did;
  fd_write(file, &v, 1, &did);
}

static void put(const char *text) {
  while (*text) *to++ = *text++;
}

// field puts the value of a member of a line up to a character.
static void field(const char *name, const char *line, char until) {
  for (;; line++) {
    const char *a = line, *b = name;
    while (*b && *a == *b) a++, b++;
    if (*b) continue;
    while (*a != until) *to++ = *a++;
    return;
  }
}

static int has(const char *text, const char *line) {
  for (; *line != '\n'; line++) {
    const char *a = line, *b = text;
    while (*b && *a == *b) a++, b++;
    if (!*b) return 1;
  }
  return 0;
}

static void begin(const char *what, const char *line) {
  put("{\"do\":\"");
  put(what);
  put("\",\"position\":");
  field("\"position\":", line, ',');
}

static void handle(const char *line) {
  if (has("\"type\":\"Broken\"", line)) {
    write(2, "it is broken\n", 13);
    proc_exit(3);
  }
  if (has("\"type\":\"Odd\"", line)) {
    begin("park", line);
    put(",\"reason\":\"it is odd\"}\n");
    return;
  }
  begin("append", line);
  put(",\"stream\":\"positions\",\"events\":[{\"type\":\"Seen\",\"data\":");
  field("\"position\":", line, ',');
  put("}]}\n");
  begin("put", line);
  put(",\"key\":\"");
  field("\"stream\":\"", line, '"');
  put("\",\"value\":");
  field("\"position\":", line, ',');
  put("}\n");
}

__attribute__((export_name("_start"))) void start(void) {
  for (uint32_t did = 1; did; end += did) {
    struct vector v = {end, in + sizeof in - end};
    fd_read(0, &v, 1, &did);
  }
  const char *line = in;
  while (*line++ != '\n') continue; // which is about the batch
  while (line < end) {
    handle(line);
    while (*line++ != '\n') continue;
  }
  write(1, out, to - out);
}
