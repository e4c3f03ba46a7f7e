// hostile.c reads bytes that are no batch and no JSON: each is read to an end, with or without an error. The
// tools of the compiler (-fsanitize=address,undefined) see what is read outside of them.
#include "../gyre.c"  // its decoders are its own

#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gyre_test.h"

static gyre_result nothing(const gyre_event *e) {
  (void)e;
  return gyre_done();
}

GYRE_HANDLER(nothing)

// read_all returns how many events a batch has, or -1. The bytes are in memory of exactly their size.
static int read_all(const char *bytes, size_t len) {
  char *own = malloc(len > 0 ? len : 1);
  assert(own != NULL);
  memcpy(own, bytes, len);
  struct batch b;
  gyre_event e;
  int n = 0;
  volatile char seen = 0;
  bool is_batch = open_batch(&b, own, len);
  while (is_batch && b.left > 0) {
    is_batch = next_event(&b, &e);
    if (!is_batch) break;
    n++;
    const gyre_str parts[] = {e.stream, e.type, e.data, e.metadata};
    for (size_t p = 0; p < 4; p++) {
      for (size_t i = 0; i < parts[p].len; i++) seen ^= parts[p].at[i];
    }
  }
  is_batch = is_batch && b.at == b.end;
  free(own);
  return is_batch ? n : -1;
}

static size_t unhex(const char *file, char *into) {
  FILE *f = fopen(file, "r");
  assert(f != NULL);
  size_t n = 0;
  for (unsigned byte; fscanf(f, "%2x", &byte) == 1;) into[n++] = (char)byte;
  fclose(f);
  return n;
}

static void batches(const char *file) {
  static char golden[4096], other[4096];
  size_t len = unhex(file, golden);
  assert(read_all(golden, len) == 2);
  for (size_t end = 0; end < len; end++) assert(read_all(golden, end) == -1);
  for (size_t at = 0; at < len; at++) {
    static const unsigned char bytes[] = {0, 1, 7, 8, 0x40, 0x7f, 0x80, 0xff};
    for (size_t i = 0; i < sizeof bytes; i++) {
      memcpy(other, golden, len);
      other[at] = (char)bytes[i];
      read_all(other, len);
    }
  }
}

static void walk(gyre_str json, int depth) {
  gyre_str name, value, text;
  int64_t n;
  bool b;
  gyre_json_text(json, &text);
  gyre_json_int(json, &n);
  gyre_json_bool(json, &b);
  gyre_json_get(json, GYRE_STR("name"));
  for (size_t at = 0, before = 0; depth > 0 && gyre_json_next(json, &at, &name, &value); before = at) {
    assert(at > before && at <= json.len);
    walk(value, depth - 1);
  }
}

static void walk_own(const char *text, size_t len) {
  uintptr_t mark = memory_mark();
  char *own = gyre_alloc(len);
  memcpy(own, text, len);
  walk((gyre_str){own, len}, 4);
  memory_reset(mark);
}

static void texts(void) {
  static const char text[] =
      " {\"a\": -12, \"name\" "
      ":[1,\"x,]}\\\"\",{\"c\":null},[]],\"n\\u00e4\":true,\"s\":\"\\ud83d\\ude00\\n\\u00\"} ";
  static const char no_digits[] = "\"\\u\\u\\u\\u\\u\\u\"";
  static const char bytes[] = "{}[]\",:\\u0 -.\xff";
  size_t len = sizeof text - 1;
  for (size_t end = 0; end <= len; end++) {
    for (size_t begin = 0; begin < end; begin++) walk_own(text + begin, end - begin);
  }
  walk_own(no_digits, sizeof no_digits - 1);
  for (size_t at = 0; at < len; at++) {
    for (size_t i = 0; i < sizeof bytes; i++) {
      char other[sizeof text];
      memcpy(other, text, sizeof text);
      other[at] = bytes[i];
      walk_own(other, len);
    }
  }
}

static void numbers(void) {
  static const struct {
    const char *text;
    bool is_int;
    int64_t n;
  } cases[] = {
      {"9223372036854775807", true, INT64_MAX},
      {"-9223372036854775808", true, INT64_MIN},
      {"9223372036854775808", false, 0},
      {"-9223372036854775809", false, 0},
      {"1.00", true, 1},
      {"1.5", false, 0},
      {"1.", false, 0},
      {"-", false, 0},
      {"", false, 0},
      {"\"1\"", false, 0},
      {" 7 ", true, 7},
      {"1 2", false, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t n = 0;
    assert(gyre_json_int(gyre_str_of(cases[i].text), &n) == cases[i].is_int);
    assert(!cases[i].is_int || n == cases[i].n);
  }
}

int main(int argc, char **argv) {
  assert(argc == 2);
  batches(argv[1]);
  texts();
  numbers();
}
