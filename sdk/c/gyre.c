// gyre.c is the SDK of gyre.h: it reads batches, calls the plugin's function for each event, and asks the
// host.
#include "gyre.h"

#include "gyre_imports.h"

enum {
  HEADER_BYTES = 32,
  EVENT_BYTES = 64,
  APPENDED_BYTES = 32,
  MAX_REASON = 4 << 10,
  FIRST_ANSWER = 1 << 10,  // room for most answers of the host
  SCAN_BYTES = 8 + 512 + (256 << 10),
  SCAN_ENTRIES = 1024,
  MAX_EFFECTS = 3584 << 10,
};

enum { ACK, RETRY, PARK, SKIP, STOP };        // actions; STOP is not the host's
enum { DONE = 0, STOPPED = 3, FAILED = -1 };  // verdicts of a batch

// Memory and strings.

#ifdef __wasm__

#ifndef __wasm_bulk_memory__
#error "build with -mbulk-memory"
#endif

// The compiler calls these by itself.
void *memcpy(void *into, const void *from, size_t n) { return __builtin_memcpy(into, from, n); }
void *memmove(void *into, const void *from, size_t n) { return __builtin_memmove(into, from, n); }
void *memset(void *into, int c, size_t n) { return __builtin_memset(into, c, n); }

__attribute__((no_builtin)) int memcmp(const void *a, const void *b, size_t n) {
  const unsigned char *x = a, *y = b;
  for (; n > 0; n--, x++, y++) {
    if (*x != *y) return *x < *y ? -1 : 1;
  }
  return 0;
}

__attribute__((no_builtin)) size_t strlen(const char *text) {
  size_t n = 0;
  while (text[n] != 0) n++;
  return n;
}

// The memory behind the program's data is used from its start to its end, and again from a mark.
extern char __heap_base;
static uintptr_t used;

static uintptr_t memory_mark(void) {
  if (used == 0) used = ((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15;
  return used;
}

static void memory_reset(uintptr_t mark) { used = mark; }

void *gyre_alloc(size_t n) {
  uintptr_t at = memory_mark();
  uint64_t end = ((uint64_t)at + n + 15) & ~(uint64_t)15;
  uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
  if (end > have) {
    uint64_t pages = (end - have + 0xffff) >> 16;
    if (end > UINT32_MAX || __builtin_wasm_memory_grow(0, (size_t)pages) == SIZE_MAX) {
      gyre_fail(1, GYRE_STR("out of memory"));
    }
  }
  used = (uintptr_t)end;
  return (void *)at;
}

#else

#include <stdlib.h>
#include <string.h>

// Natively each piece of memory is one of the C library, so that its tools see what is used wrongly.
struct piece {
  struct piece *before;
  uintptr_t number;
  _Alignas(16) char memory[];
};

static struct piece *last;

static uintptr_t memory_mark(void) { return last == NULL ? 0 : last->number; }

static void memory_reset(uintptr_t mark) {
  while (last != NULL && last->number > mark) {
    struct piece *gone = last;
    last = gone->before;
    free(gone);
  }
}

void *gyre_alloc(size_t n) {
  struct piece *p = malloc(sizeof(struct piece) + n);
  if (p == NULL) gyre_fail(1, GYRE_STR("out of memory"));
  p->number = memory_mark() + 1;
  p->before = last;
  last = p;
  return p->memory;
}

#endif

gyre_str gyre_str_of(const char *text) { return (gyre_str){text, __builtin_strlen(text)}; }

bool gyre_equal(gyre_str a, gyre_str b) {
  return a.len == b.len && (a.len == 0 || __builtin_memcmp(a.at, b.at, a.len) == 0);
}

bool gyre_has_prefix(gyre_str text, gyre_str prefix) {
  return text.len >= prefix.len && gyre_equal((gyre_str){text.at, prefix.len}, prefix);
}

gyre_str gyre_error_text(gyre_err error) {
  static const char *const texts[] = {
      "ok",       "invalid argument",       "denied",     "too large", "not found", "over quota", "closed",
      "conflict", "input or output failed", "unsupported"};
  if (error > 0 || error < GYRE_UNSUPPORTED) return GYRE_STR("unknown errno");
  return gyre_str_of(texts[-error]);
}

// Results.

gyre_result gyre_done(void) { return (gyre_result){ACK, 0, {0, 0}}; }
gyre_result gyre_skip(void) { return (gyre_result){SKIP, 0, GYRE_STR("skipped")}; }
gyre_result gyre_park(gyre_str reason) { return (gyre_result){PARK, 0, reason}; }
gyre_result gyre_stop(gyre_str reason) { return (gyre_result){STOP, 0, reason}; }
gyre_result gyre_retry(uint32_t after_ms, gyre_str reason) { return (gyre_result){RETRY, after_ms, reason}; }

gyre_result gyre_result_of(gyre_err error) {
  return error >= 0 ? gyre_done() : gyre_retry(0, gyre_error_text(error));
}

gyre_result gyre_keep(void) { return gyre_done(); }
gyre_result gyre_drop(void) { return (gyre_result){SKIP, 0, {0, 0}}; }
gyre_result gyre_data(gyre_str data) { return (gyre_result){ACK, 0, data}; }
gyre_result gyre_key(gyre_str key) { return (gyre_result){ACK, 0, key}; }
gyre_result gyre_answer(gyre_str answer) { return (gyre_result){ACK, 0, answer}; }
gyre_result gyre_accept(void) { return gyre_done(); }
gyre_result gyre_refuse(gyre_str reason) { return (gyre_result){PARK, 0, reason}; }

// Batches.

struct batch {
  const char *at, *end;
  uint32_t left;  // events
};

static uint16_t load16(const char *at) {
  uint16_t n;
  __builtin_memcpy(&n, at, sizeof n);
  return n;
}

static uint32_t load32(const char *at) {
  uint32_t n;
  __builtin_memcpy(&n, at, sizeof n);
  return n;
}

static uint64_t load64(const char *at) {
  uint64_t n;
  __builtin_memcpy(&n, at, sizeof n);
  return n;
}

static void store16(char *at, uint16_t n) { __builtin_memcpy(at, &n, sizeof n); }
static void store32(char *at, uint32_t n) { __builtin_memcpy(at, &n, sizeof n); }

// open_batch reads the header of a batch. It is false if the bytes are none.
static bool open_batch(struct batch *b, const char *bytes, size_t len) {
  if (len < HEADER_BYTES || __builtin_memcmp(bytes, "GYB1", 4) != 0 || load16(bytes + 4) != 1) return false;
  uint16_t header = load16(bytes + 6);
  *b = (struct batch){bytes + header, bytes + len, load32(bytes + 8)};
  return header >= HEADER_BYTES && header <= len && load32(bytes + 12) == len &&
         b->left <= (len - header) / EVENT_BYTES;
}

static gyre_str cut(const char **at, size_t n) {
  gyre_str part = {*at, n};
  *at += n;
  return part;
}

// next_event decodes an event. It is false if the bytes are none.
static bool next_event(struct batch *b, gyre_event *e) {
  size_t have = (size_t)(b->end - b->at);
  if (have < EVENT_BYTES) return false;
  const char *r = b->at;
  uint32_t entry = load32(r), data = load32(r + 52), metadata = load32(r + 56);
  uint16_t fixed = load16(r + 4), flags = load16(r + 6), stream = load16(r + 48), type = load16(r + 50);
  if (entry > have || entry % 8 != 0 || fixed < EVENT_BYTES) return false;
  if ((uint64_t)fixed + stream + type + data + metadata > entry) return false;
  e->position = load64(r + 8);
  e->version = load64(r + 16);
  e->time_us = (int64_t)load64(r + 24);
  __builtin_memcpy(e->id, r + 32, sizeof e->id);
  e->attempt = load32(r + 60);
  e->is_json = (flags & 5) == 1;  // JSON, and not truncated
  e->replay = (flags & 2) != 0;
  const char *at = r + fixed;
  e->stream = cut(&at, stream);
  e->type = cut(&at, type);
  e->data = cut(&at, data);
  e->metadata = cut(&at, metadata);
  b->at += entry;
  b->left--;
  return true;
}

static gyre_str clip(gyre_str text) {
  if (text.len > MAX_REASON) text.len = MAX_REASON;
  return text;
}

// decide tells the host the result of an event of a handler. It is true if the batch ends with it.
static bool decide(int32_t index, gyre_result r, int32_t *verdict) {
  if (r.action == ACK) return false;
  if (r.action == STOP) {
    gyre_log(GYRE_ERROR, r.text);
    *verdict = STOPPED;
    return true;
  }
  gyre_str reason = clip(r.text);
  gyre_1_event_result(index, r.action, r.delay_ms, reason.at, (int32_t)reason.len);
  return r.action != SKIP;
}

// read_batch reads the batch that the host has.
static bool read_batch(struct batch *b, int32_t length) {
  memory_reset(0);
  char *bytes = gyre_alloc((size_t)length);
  return gyre_1_batch_read(0, bytes, length) == length && open_batch(b, bytes, (size_t)length);
}

// end_batch returns the verdict of a batch that was handled to its end, or as far as it can be read.
static int32_t end_batch(const struct batch *b, bool is_read) {
  if (is_read && b->left == 0 && b->at == b->end) return DONE;
  gyre_log(GYRE_ERROR, GYRE_STR("corrupt batch"));
  return FAILED;
}

int32_t gyre_run_handler(gyre_function function, int32_t length) {
  struct batch b;
  bool is_read = read_batch(&b, length);
  gyre_event e;
  for (int32_t i = 0; is_read && b.left > 0 && next_event(&b, &e); i++) {
    uintptr_t mark = memory_mark();
    int32_t verdict = DONE;
    gyre_1_event_begin(i);
    if (decide(i, function(&e), &verdict)) return verdict;
    memory_reset(mark);
  }
  return end_batch(&b, is_read);
}

int32_t gyre_run_judge(gyre_function function, int32_t length) {
  struct batch b;
  bool is_read = read_batch(&b, length);
  gyre_event e;
  for (int32_t i = 0; is_read && b.left > 0 && next_event(&b, &e); i++) {
    uintptr_t mark = memory_mark();
    gyre_1_event_begin(i);
    gyre_result r = function(&e);
    if (r.action == STOP || r.action == RETRY) r.action = PARK;  // a judge has no other way to fail
    gyre_str text = r.action == PARK ? clip(r.text) : r.text;
    gyre_1_event_result(i, r.action, 0, text.at, (int32_t)text.len);
    memory_reset(mark);
  }
  return end_batch(&b, is_read);
}

int32_t gyre_run_query(gyre_query_function function, int32_t length) {
  memory_reset(0);
  char *query = gyre_alloc((size_t)length);
  gyre_1_batch_read(0, query, length);
  gyre_result r = function((gyre_str){query, (size_t)length});
  bool is_answer = r.action == ACK;
  gyre_str text = is_answer ? r.text : clip(r.text);
  gyre_1_event_result(0, is_answer ? ACK : PARK, 0, text.at, (int32_t)text.len);
  return is_answer ? DONE : FAILED;
}

#ifdef __wasm__
__attribute__((export_name("gyre_abi_1"))) void gyre_abi_1(void) {}
#endif

// What the host does.

gyre_err gyre_append(gyre_str stream, gyre_str type, gyre_str data) {
  gyre_new_event e = {type, data, {0, 0}, false};
  return gyre_append_to(stream, GYRE_ANY_VERSION, &e, 1);
}

gyre_err gyre_append_to(gyre_str stream, int64_t expected, const gyre_new_event *events, size_t count) {
  size_t size = 0;
  for (size_t i = 0; i < count; i++) {
    const gyre_new_event *e = &events[i];
    size_t own = APPENDED_BYTES + e->type.len + e->data.len + e->metadata.len;
    size += own;
    if (e->type.len > UINT16_MAX || own > MAX_EFFECTS || size > MAX_EFFECTS) return GYRE_TOO_LARGE;
  }
  char *encoded = gyre_alloc(size), *at = encoded;
  for (size_t i = 0; i < count; i++) {
    const gyre_new_event *e = &events[i];
    __builtin_memset(at, 0, APPENDED_BYTES);
    store32(at, (uint32_t)(APPENDED_BYTES + e->type.len + e->data.len + e->metadata.len));
    store16(at + 4, (uint16_t)e->type.len);
    store16(at + 6, e->binary ? 1 : 0);
    store32(at + 8, (uint32_t)e->data.len);
    store32(at + 12, (uint32_t)e->metadata.len);
    at += APPENDED_BYTES;
    const gyre_str parts[] = {e->type, e->data, e->metadata};
    for (size_t p = 0; p < 3; p++) {
      if (parts[p].len > 0) __builtin_memcpy(at, parts[p].at, parts[p].len);
      at += parts[p].len;
    }
  }
  return gyre_1_append(stream.at, (int32_t)stream.len, expected, encoded, (int32_t)size);
}

// ANSWER asks the host until there is room for the answer. The call uses into and cap.
#define ANSWER(value, call)               \
  int32_t cap = FIRST_ANSWER;             \
  char *into = gyre_alloc(FIRST_ANSWER);  \
  int32_t n = call;                       \
  if (n > cap) {                          \
    cap = n;                              \
    into = gyre_alloc((size_t)n);         \
    n = call;                             \
  }                                       \
  if (n < 0) return n;                    \
  *(value) = (gyre_str){into, (size_t)n}; \
  return GYRE_OK

gyre_err gyre_get(gyre_str key, gyre_str *value) {
  ANSWER(value, gyre_1_state_get(key.at, (int32_t)key.len, into, cap));
}

gyre_err gyre_put(gyre_str key, gyre_str value) {
  return gyre_1_state_put(key.at, (int32_t)key.len, value.at, (int32_t)value.len);
}

gyre_err gyre_delete(gyre_str key) { return gyre_1_state_del(key.at, (int32_t)key.len); }

gyre_err gyre_config(gyre_str name, gyre_str *json) {
  ANSWER(json, gyre_1_config_get(name.at, (int32_t)name.len, into, cap));
}

gyre_err gyre_secret(gyre_str name, gyre_str *value) {
  ANSWER(value, gyre_1_secret_get(name.at, (int32_t)name.len, into, cap));
}

gyre_err gyre_http(gyre_str request, gyre_str *response) {
  ANSWER(response, gyre_1_http(request.at, (int32_t)request.len, into, cap));
}

gyre_err gyre_get_int(gyre_str key, int64_t *n) {
  gyre_str value;
  *n = 0;
  gyre_err e = gyre_get(key, &value);
  if (e == GYRE_NOT_FOUND) return GYRE_OK;
  if (e < 0) return e;
  return gyre_json_int(value, n) ? GYRE_OK : GYRE_INVALID;
}

gyre_err gyre_put_int(gyre_str key, int64_t n) {
  gyre_buffer digits = {0};
  gyre_write_int(&digits, n);
  return gyre_put(key, gyre_written(&digits));
}

gyre_err gyre_add(gyre_str key, int64_t n, int64_t *sum) {
  int64_t old;
  gyre_err e = gyre_get_int(key, &old);
  if (e < 0) return e;
  int64_t both = (int64_t)((uint64_t)old + (uint64_t)n);
  if (sum != NULL) *sum = both;
  return gyre_put_int(key, both);
}

gyre_err gyre_scan(gyre_str prefix, gyre_visit visit, void *context) {
  char *page = gyre_alloc(SCAN_BYTES), *after = gyre_alloc(512);
  size_t after_len = 0;
  for (;;) {
    int32_t n = gyre_1_state_scan(prefix.at, (int32_t)prefix.len, after, (int32_t)after_len, SCAN_ENTRIES,
                                  page, SCAN_BYTES);
    if (n <= 0) return n;
    const char *at = page, *end = page + (n < SCAN_BYTES ? n : SCAN_BYTES);
    while (at < end) {
      if (end - at < 8) return GYRE_IO;
      uint32_t key_len = load32(at), value_len = load32(at + 4);
      at += 8;
      if ((uint64_t)key_len + value_len > (uint64_t)(end - at) || key_len > 512) return GYRE_IO;
      gyre_str key = cut(&at, key_len), value = cut(&at, value_len);
      __builtin_memcpy(after, key.at, key_len);
      after_len = key_len;
      if (!visit(context, key, value)) return GYRE_OK;
    }
  }
}

static gyre_err stream_batch(gyre_str stream, uint64_t from, uint32_t limit, gyre_str *value) {
  ANSWER(value, gyre_1_stream_read(stream.at, (int32_t)stream.len, (int64_t)from, (int32_t)limit, into, cap));
}

gyre_err gyre_read_stream(gyre_str stream, uint64_t from, uint32_t limit, gyre_event **events,
                          size_t *count) {
  gyre_str bytes;
  struct batch b;
  gyre_err error = stream_batch(stream, from, limit, &bytes);
  if (error < 0) return error;
  if (!open_batch(&b, bytes.at, bytes.len)) return GYRE_IO;
  *count = b.left;
  *events = gyre_alloc(b.left * sizeof(gyre_event));
  for (size_t i = 0; i < *count; i++) {
    if (!next_event(&b, &(*events)[i])) return GYRE_IO;
  }
  return GYRE_OK;
}

void gyre_log(int32_t level, gyre_str text) {
  const char *at = text.at, *end = text.at + text.len;
  while (at < end) {
    const char *line = at;
    while (at < end && *at != '\n') at++;
    if (at > line) gyre_1_log(level, line, (int32_t)(at - line));
    at++;
  }
}

gyre_err gyre_count(gyre_str name, double n) { return gyre_1_metric(0, name.at, (int32_t)name.len, n); }
gyre_err gyre_gauge(gyre_str name, double value) {
  return gyre_1_metric(1, name.at, (int32_t)name.len, value);
}
gyre_err gyre_observe(gyre_str name, double value) {
  return gyre_1_metric(2, name.at, (int32_t)name.len, value);
}
int64_t gyre_now_us(void) { return gyre_1_now_us(); }
void gyre_random(void *into, size_t n) { gyre_1_random(into, (int32_t)n); }
void gyre_fail(int32_t code, gyre_str text) { gyre_1_fail(code, text.at, (int32_t)text.len); }

// Texts.

void gyre_write(gyre_buffer *b, gyre_str text) {
  if (text.len == 0) return;
  if (text.len > b->cap - b->len) {
    size_t cap = 2 * b->cap + text.len + 64;
    char *more = gyre_alloc(cap);
    if (b->len > 0) __builtin_memcpy(more, b->at, b->len);
    b->at = more;
    b->cap = cap;
  }
  __builtin_memcpy(b->at + b->len, text.at, text.len);
  b->len += text.len;
}

void gyre_write_int(gyre_buffer *b, int64_t n) {
  char digits[20];
  size_t at = sizeof digits;
  uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
  do {
    digits[--at] = (char)('0' + rest % 10);
    rest /= 10;
  } while (rest > 0);
  if (n < 0) digits[--at] = '-';
  gyre_write(b, (gyre_str){digits + at, sizeof digits - at});
}

gyre_str gyre_written(const gyre_buffer *b) { return (gyre_str){b->at, b->len}; }
