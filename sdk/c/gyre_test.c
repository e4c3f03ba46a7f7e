// gyre_test.c is the other side of gyre_imports.h: a host in memory, for unit tests.
#include "gyre_test.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gyre_imports.h"

enum {
  MAX_EVENTS = 256,
  MAX_KEY = 512,
  MAX_VALUE = 256 << 10,
  MAX_WRITES = 4096,
  MAX_APPENDED = 1024,
  MAX_EFFECTS = 3584 << 10,
  MAX_SERIES = 64,
  MAX_LINE = 4 << 10,
};

static const int64_t first_day = 1767225600000000;  // 2026-01-01

// list is an array that grows.
struct list {
  void *items;
  size_t count, cap;
};

static void *allocate(void *old, size_t size) {
  void *memory = realloc(old, size > 0 ? size : 1);
  if (memory == NULL) {
    fputs("gyre_test: out of memory\n", stderr);
    exit(2);
  }
  return memory;
}

// add returns room for one more item.
static void *add(struct list *l, size_t size) {
  if (l->count == l->cap) {
    l->cap = 2 * l->cap + 16;
    l->items = allocate(l->items, l->cap * size);
  }
  return (char *)l->items + size * l->count++;
}

static gyre_str copy(gyre_str s) {
  char *at = allocate(NULL, s.len + 1);
  if (s.len > 0) memcpy(at, s.at, s.len);
  at[s.len] = 0;
  return (gyre_str){at, s.len};
}

static gyre_str copy_of(const char *text) {
  return copy(text == NULL ? (gyre_str){0, 0} : gyre_str_of(text));
}
static void drop(gyre_str s) { free((char *)s.at); }

struct entry {
  gyre_str key, value;
};

struct write {
  int32_t event;
  gyre_str key, value;
  bool deleted;
};

struct series {
  gyre_str name;
  double value;
};

static struct {
  gyre_str config;
  gyre_err (*http)(gyre_str request, gyre_str *response);
  struct list secrets, state;  // of entries; state in the order of keys
  struct list events;          // all, in the order of their positions
  struct list series;

  // Of the events that were handled last.
  size_t first;  // index of the first of them in events
  struct list results, appended, lines;

  // Of the batch that is being handled.
  size_t batch_first, batch_count;
  gyre_str batch;
  struct list writes, staged;
  int32_t current;  // event, or -1
  size_t effects;   // bytes
  uint64_t random;
  jmp_buf failed;
} host;

// Entries.

static int compare(gyre_str a, gyre_str b) {
  size_t n = a.len < b.len ? a.len : b.len;
  int order = n > 0 ? memcmp(a.at, b.at, n) : 0;
  return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static struct entry *find(const struct list *l, gyre_str key) {
  struct entry *entries = l->items;
  for (size_t i = 0; i < l->count; i++) {
    if (gyre_equal(entries[i].key, key)) return &entries[i];
  }
  return NULL;
}

static void set(struct list *l, gyre_str key, gyre_str value) {
  struct entry *e = find(l, key);
  if (e != NULL) {
    drop(e->value);
    e->value = copy(value);
    return;
  }
  add(l, sizeof(struct entry));
  struct entry *entries = l->items;
  size_t at = l->count - 1;
  for (; at > 0 && compare(entries[at - 1].key, key) > 0; at--) entries[at] = entries[at - 1];
  entries[at] = (struct entry){copy(key), copy(value)};
}

static void unset(struct list *l, gyre_str key) {
  struct entry *e = find(l, key), *end = (struct entry *)l->items + l->count;
  if (e == NULL) return;
  drop(e->key);
  drop(e->value);
  memmove(e, e + 1, (size_t)((char *)end - (char *)(e + 1)));
  l->count--;
}

static void clear_entries(struct list *l) {
  struct entry *entries = l->items;
  for (size_t i = 0; i < l->count; i++) {
    drop(entries[i].key);
    drop(entries[i].value);
  }
  l->count = 0;
}

static void copy_entries(struct list *to, const struct list *from) {
  clear_entries(to);
  const struct entry *entries = from->items;
  for (size_t i = 0; i < from->count; i++) {
    *(struct entry *)add(to, sizeof(struct entry)) =
        (struct entry){copy(entries[i].key), copy(entries[i].value)};
  }
}

static void clear_writes(void) {
  struct write *writes = host.writes.items;
  for (size_t i = 0; i < host.writes.count; i++) {
    drop(writes[i].key);
    drop(writes[i].value);
  }
  host.writes.count = 0;
}

static void drop_appended(size_t from) {
  gyre_test_appended *appended = host.appended.items;
  for (size_t i = from; i < host.appended.count; i++) {
    drop(appended[i].stream);
    drop(appended[i].type);
    drop(appended[i].data);
    drop(appended[i].metadata);
  }
  if (host.appended.count > from) host.appended.count = from;
}

static void clear_handled(void) {
  drop_appended(0);
  gyre_test_result *results = host.results.items;
  for (size_t i = 0; i < host.results.count; i++) drop(results[i].text);
  gyre_test_line *lines = host.lines.items;
  for (size_t i = 0; i < host.lines.count; i++) drop(lines[i].text);
  host.results.count = host.lines.count = 0;
}

void gyre_test_reset(void) {
  clear_handled();
  clear_writes();
  clear_entries(&host.state);
  clear_entries(&host.staged);
  clear_entries(&host.secrets);
  gyre_event *events = host.events.items;
  for (size_t i = 0; i < host.events.count; i++) {
    drop(events[i].stream);
    drop(events[i].type);
    drop(events[i].data);
    drop(events[i].metadata);
  }
  struct series *series = host.series.items;
  for (size_t i = 0; i < host.series.count; i++) drop(series[i].name);
  host.events.count = host.series.count = host.first = 0;
  drop(host.config);
  host.config = (gyre_str){0, 0};
  host.http = NULL;
}

void gyre_test_config(const char *json) {
  drop(host.config);
  host.config = copy_of(json);
}

void gyre_test_secret(const char *name, const char *value) {
  set(&host.secrets, gyre_str_of(name), gyre_str_of(value));
}
void gyre_test_put(const char *key, const char *value) {
  set(&host.state, gyre_str_of(key), gyre_str_of(value));
}
void gyre_test_http(gyre_err (*answer)(gyre_str request, gyre_str *response)) { host.http = answer; }

// Batches.

static void put(char **at, const void *bytes, size_t n) {
  if (n > 0) memcpy(*at, bytes, n);
  *at += n;
}

static void put16(char **at, uint16_t n) { put(at, &n, sizeof n); }
static void put32(char **at, uint32_t n) { put(at, &n, sizeof n); }
static void put64(char **at, uint64_t n) { put(at, &n, sizeof n); }

static size_t entry_bytes(const gyre_event *e) {
  return (64 + e->stream.len + e->type.len + e->data.len + e->metadata.len + 7) & ~(size_t)7;
}

// encode returns a batch of events.
static gyre_str encode(const gyre_event *const *events, size_t count) {
  size_t size = 32;
  for (size_t i = 0; i < count; i++) size += entry_bytes(events[i]);
  char *bytes = allocate(NULL, size), *at = bytes;
  put(&at, "GYB1\1\0\40\0", 8);
  put32(&at, (uint32_t)count);
  put32(&at, (uint32_t)size);
  put64(&at, count > 0 ? (uint64_t)events[count - 1]->time_us : 0);
  put32(&at, 1);
  put32(&at, 0);
  for (size_t i = 0; i < count; i++) {
    const gyre_event *e = events[i];
    char *end = at + entry_bytes(e);
    put32(&at, (uint32_t)entry_bytes(e));
    put16(&at, 64);
    put16(&at, (uint16_t)((e->is_json ? 1 : 0) | (e->replay ? 2 : 0)));
    put64(&at, e->position);
    put64(&at, e->version);
    put64(&at, (uint64_t)e->time_us);
    put(&at, e->id, sizeof e->id);
    put16(&at, (uint16_t)e->stream.len);
    put16(&at, (uint16_t)e->type.len);
    put32(&at, (uint32_t)e->data.len);
    put32(&at, (uint32_t)e->metadata.len);
    put32(&at, e->attempt);
    put(&at, e->stream.at, e->stream.len);
    put(&at, e->type.at, e->type.len);
    put(&at, e->data.at, e->data.len);
    put(&at, e->metadata.at, e->metadata.len);
    while (at < end) *at++ = 0;
  }
  return (gyre_str){bytes, size};
}

static gyre_event *event_of(size_t index) { return &((gyre_event *)host.events.items)[index]; }
static gyre_test_result *result_of(size_t index) { return &((gyre_test_result *)host.results.items)[index]; }

static void set_result(size_t index, const char *action, uint32_t delay_ms, gyre_str text) {
  gyre_test_result *r = result_of(index);
  gyre_str own = copy(text);
  drop(r->text);
  *r = (gyre_test_result){action, delay_ms, own};
}

// commit makes the effects of the batch's events before one the state, and forgets those of the others.
static void commit(size_t end) {
  struct write *writes = host.writes.items;
  for (size_t i = 0; i < host.writes.count && (size_t)writes[i].event < end; i++) {
    if (writes[i].deleted) {
      unset(&host.state, writes[i].key);
    } else {
      set(&host.state, writes[i].key, writes[i].value);
    }
  }
  gyre_test_appended *appended = host.appended.items;
  size_t kept = host.appended.count;
  while (kept > 0 && appended[kept - 1].event >= host.batch_first - host.first + end) kept--;
  drop_appended(kept);
}

// call returns the verdict of the plugin, or -1 if it failed.
static int32_t call(void) {
  if (setjmp(host.failed) != 0) return -1;
  return gyre_registered_runner(gyre_registered_function, (int32_t)host.batch.len);
}

// run_batch hands out the batch and commits it. It returns how many events are finished; goes_on is whether
// the lane goes on with those behind them.
static size_t run_batch(bool *goes_on) {
  const gyre_event *events[MAX_EVENTS];
  for (size_t i = 0; i < host.batch_count; i++) events[i] = event_of(host.batch_first + i);
  drop(host.batch);
  host.batch = encode(events, host.batch_count);
  clear_writes();
  copy_entries(&host.staged, &host.state);
  host.current = -1;
  host.effects = 0;
  size_t first = host.batch_first - host.first;
  *goes_on = false;
  if (call() != 0) {
    commit(0);
    set_result(first + (size_t)(host.current < 0 ? 0 : host.current), "stop", 0, (gyre_str){0, 0});
    return 0;
  }
  for (size_t i = 0; i < host.batch_count; i++) {
    const char *action = result_of(first + i)->action;
    bool is_parked = strcmp(action, "park") == 0;
    if (*action == 0) set_result(first + i, "ack", 0, (gyre_str){0, 0});
    if (gyre_registered_runner == gyre_run_handler && (is_parked || strcmp(action, "retry") == 0)) {
      commit(i);
      *goes_on = is_parked;
      return i + 1;
    }
  }
  commit(host.batch_count);
  *goes_on = true;
  return host.batch_count;
}

static uint64_t next_version(gyre_str stream) {
  uint64_t version = 1;
  for (size_t i = 0; i < host.events.count; i++) version += gyre_equal(event_of(i)->stream, stream);
  return version;
}

static void add_event(const gyre_test_event *from) {
  gyre_event e = {
      .position = host.events.count + 1,
      .version = next_version(gyre_str_of(from->stream)),
      .time_us = from->time_us != 0 ? from->time_us : first_day + (int64_t)(host.events.count + 1) * 1000000,
      .attempt = from->attempt > 0 ? from->attempt : 1,
      .replay = from->replay,
      .is_json = !from->binary,
      .stream = copy_of(from->stream),
      .type = copy_of(from->type),
      .data = copy_of(from->data),
      .metadata = copy_of(from->metadata),
  };
  for (int i = 0; i < 8; i++) e.id[15 - i] = (uint8_t)(e.position >> 8 * i);
  *(gyre_event *)add(&host.events, sizeof e) = e;
  *(gyre_test_result *)add(&host.results, sizeof(gyre_test_result)) = (gyre_test_result){"", 0, {0, 0}};
}

static void handle_added(void) {
  for (host.batch_first = host.first; host.batch_first < host.events.count;) {
    size_t left = host.events.count - host.batch_first;
    host.batch_count = left < MAX_EVENTS ? left : MAX_EVENTS;
    bool goes_on;
    host.batch_first += run_batch(&goes_on);
    if (!goes_on) break;
  }
}

void gyre_test_handle(const gyre_test_event *events, size_t count) {
  clear_handled();
  host.first = host.events.count;
  for (size_t i = 0; i < count; i++) add_event(&events[i]);
  handle_added();
}

// It is that of the plugin, if it has one.
__attribute__((weak)) gyre_query_function gyre_registered_query = NULL;

gyre_test_result gyre_test_query(gyre_str query) {
  if (gyre_registered_query == NULL)
    return (gyre_test_result){"park", 0, GYRE_STR("the plugin answers no queries")};
  clear_handled();
  *(gyre_test_result *)add(&host.results, sizeof(gyre_test_result)) = (gyre_test_result){"", 0, {0, 0}};
  drop(host.batch);
  host.batch = copy(query);
  host.current = -1;  // so that nothing can be changed
  host.batch_first = host.first = 0;
  host.batch_count = 1;
  copy_entries(&host.staged, &host.state);
  if (setjmp(host.failed) == 0) gyre_run_query(gyre_registered_query, (int32_t)query.len);
  return *result_of(0);
}

static const char *text_member(gyre_str line, const char *name) {
  gyre_str text = {0, 0};
  gyre_json_text(gyre_json_get(line, gyre_str_of(name)), &text);
  return copy(text).at;
}

static const char *member(gyre_str line, const char *name) {
  return copy(gyre_json_get(line, gyre_str_of(name))).at;
}

void gyre_test_load(const char *file) {
  FILE *f = fopen(file, "r");
  if (f == NULL) {
    perror(file);
    exit(2);
  }
  clear_handled();
  host.first = host.events.count;
  struct list text = {0};
  for (int c = fgetc(f);; c = fgetc(f)) {
    if (c != '\n' && c != EOF) {
      *(char *)add(&text, 1) = (char)c;
      continue;
    }
    gyre_str line = {text.items, text.count};
    gyre_test_event e = {text_member(line, "stream"),
                         text_member(line, "type"),
                         member(line, "data"),
                         member(line, "metadata"),
                         0,
                         0,
                         false,
                         false};
    if (*e.stream != 0) add_event(&e);
    drop(gyre_str_of(e.stream));
    drop(gyre_str_of(e.type));
    drop(gyre_str_of(e.data));
    drop(gyre_str_of(e.metadata));
    text.count = 0;
    if (c == EOF) break;
  }
  free(text.items);
  fclose(f);
  handle_added();
}

size_t gyre_test_events(void) { return host.results.count; }
gyre_test_result gyre_test_result_of(size_t event) { return *result_of(event); }
size_t gyre_test_count_appended(void) { return host.appended.count; }
gyre_test_appended gyre_test_appended_at(size_t index) {
  return ((gyre_test_appended *)host.appended.items)[index];
}
size_t gyre_test_count_lines(void) { return host.lines.count; }
gyre_test_line gyre_test_line_at(size_t index) { return ((gyre_test_line *)host.lines.items)[index]; }
size_t gyre_test_count_keys(void) { return host.state.count; }

gyre_str gyre_test_state(const char *key) {
  struct entry *e = find(&host.state, gyre_str_of(key));
  return e == NULL ? (gyre_str){0, 0} : e->value;
}

static struct series *find_series(gyre_str name) {
  struct series *series = host.series.items;
  for (size_t i = 0; i < host.series.count; i++) {
    if (gyre_equal(series[i].name, name)) return &series[i];
  }
  return NULL;
}

double gyre_test_metric(const char *name) {
  struct series *s = find_series(gyre_str_of(name));
  return s == NULL ? 0 : s->value;
}

// Checks of arguments.

static bool is_utf8(gyre_str s) {
  for (size_t i = 0; i < s.len;) {
    unsigned char c = (unsigned char)s.at[i++];
    size_t more = c < 0x80                ? 0
                  : c >= 0xc2 && c < 0xe0 ? 1
                  : (c & 0xf0) == 0xe0    ? 2
                  : c >= 0xf0 && c < 0xf5 ? 3
                                          : 9;
    if (more > s.len - i) return false;
    unsigned char next = more > 0 ? (unsigned char)s.at[i] : 0;
    if ((c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f) || (c == 0xf0 && next < 0x90) ||
        (c == 0xf4 && next > 0x8f))
      return false;
    for (; more > 0; more--) {
      if (((unsigned char)s.at[i++] & 0xc0) != 0x80) return false;
    }
  }
  return true;
}

static gyre_err check_key(gyre_str key) {
  if (key.len > MAX_KEY) return GYRE_TOO_LARGE;
  return key.len == 0 || !is_utf8(key) ? GYRE_INVALID : GYRE_OK;
}

static void skip_space(const char **at, const char *end) {
  while (*at < end && strchr(" \n\t\r", **at) != NULL && **at != 0) (*at)++;
}

static bool is_string(const char **at, const char *end) {
  if (*at == end || **at != '"') return false;
  for ((*at)++; *at < end; (*at)++) {
    unsigned char c = (unsigned char)**at;
    if (c == '"') return (*at)++, true;
    if (c < 0x20) return false;
    if (c != '\\') continue;
    if (++*at == end || **at == 0 || strchr("\"\\/bfnrtu", **at) == NULL) return false;
    for (int i = 0; **at == 'u' && i < 4; i++) {
      if (end - *at < 6 || strchr("0123456789abcdefABCDEF", (*at)[1 + i]) == NULL) return false;
    }
  }
  return false;
}

static size_t digits(const char **at, const char *end) {
  const char *begin = *at;
  while (*at < end && **at >= '0' && **at <= '9') (*at)++;
  return (size_t)(*at - begin);
}

static bool is_number(const char **at, const char *end) {
  if (*at < end && **at == '-') (*at)++;
  bool zero = *at < end && **at == '0';
  size_t whole = digits(at, end);
  if (whole == 0 || (zero && whole > 1)) return false;
  if (*at < end && **at == '.' && ((*at)++, digits(at, end) == 0)) return false;
  if (*at < end && (**at == 'e' || **at == 'E')) {
    (*at)++;
    if (*at < end && (**at == '+' || **at == '-')) (*at)++;
    return digits(at, end) > 0;
  }
  return true;
}

static bool is_word(const char **at, const char *end, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(end - *at) < n || memcmp(*at, word, n) != 0) return false;
  *at += n;
  return true;
}

static bool is_value(const char **at, const char *end, int depth) {
  skip_space(at, end);
  if (*at == end || depth == 0) return false;
  char open = **at, close = open == '{' ? '}' : ']';
  if (open == '"') return is_string(at, end);
  if (open != '{' && open != '[')
    return is_word(at, end, "true") || is_word(at, end, "false") || is_word(at, end, "null") ||
           is_number(at, end);
  (*at)++;
  skip_space(at, end);
  if (*at < end && **at == close) return (*at)++, true;
  for (;;) {
    skip_space(at, end);
    if (open == '{') {
      if (!is_string(at, end)) return false;
      skip_space(at, end);
      if (*at == end || *(*at)++ != ':') return false;
    }
    if (!is_value(at, end, depth - 1)) return false;
    skip_space(at, end);
    if (*at == end) return false;
    char c = *(*at)++;
    if (c == close) return true;
    if (c != ',') return false;
  }
}

static bool is_json(gyre_str s) {
  const char *at = s.at, *end = s.at + s.len;
  if (s.len == 0 || !is_utf8(s) || !is_value(&at, end, 1000)) return false;
  skip_space(&at, end);
  return at == end;
}

// The host's functions.

static gyre_str given(const void *at, int32_t len) { return (gyre_str){at, (size_t)(uint32_t)len}; }

static int32_t give(gyre_str value, void *into, int32_t cap) {
  if (value.len > 0 && value.len <= (size_t)cap) memcpy(into, value.at, value.len);
  return (int32_t)value.len;
}

static bool spend(size_t n) {
  if (host.effects + n > MAX_EFFECTS) return false;
  host.effects += n;
  return true;
}

int32_t gyre_1_batch_read(int32_t offset, void *into, int32_t cap) {
  size_t left = host.batch.len - (size_t)offset, n = left < (size_t)cap ? left : (size_t)cap;
  memcpy(into, host.batch.at + offset, n);
  return (int32_t)n;
}

int32_t gyre_1_event_begin(int32_t index) {
  if (index < host.current || (size_t)index >= host.batch_count) return GYRE_INVALID;
  host.current = index;
  host.random = event_of(host.batch_first + (size_t)index)->position * 0x9e3779b97f4a7c15u;
  return GYRE_OK;
}

int32_t gyre_1_event_result(int32_t index, int32_t action, uint32_t delay_ms, const void *text, int32_t len) {
  static const char *const actions[] = {"ack", "retry", "park", "skip"};
  if (index < 0 || (size_t)index >= host.batch_count || action < 0 || action > 3) return GYRE_INVALID;
  set_result(host.batch_first - host.first + (size_t)index, actions[action], delay_ms, given(text, len));
  return GYRE_OK;
}

static gyre_err append_one(const char *at, uint32_t size, gyre_str stream, int64_t expected) {
  uint16_t type, content;
  uint32_t data, metadata;
  memcpy(&type, at + 4, sizeof type);
  memcpy(&content, at + 6, sizeof content);
  memcpy(&data, at + 8, sizeof data);
  memcpy(&metadata, at + 12, sizeof metadata);
  if ((uint64_t)32 + type + data + metadata > size || type == 0 || content > 1) return GYRE_INVALID;
  gyre_str body = {at + 32 + type, data};
  if (content == 0 && !is_json(body)) return GYRE_INVALID;
  *(gyre_test_appended *)add(&host.appended, sizeof(gyre_test_appended)) = (gyre_test_appended){
      host.batch_first - host.first + (size_t)host.current,
      expected,
      copy(stream),
      copy((gyre_str){at + 32, type}),
      copy(body),
      copy((gyre_str){body.at + data, metadata}),
      content == 1,
  };
  return GYRE_OK;
}

int32_t gyre_1_append(const void *stream_at, int32_t stream_len, int64_t expected, const void *events,
                      int32_t len) {
  gyre_str stream = given(stream_at, stream_len);
  if (host.current < 0 || len <= 0 || expected < GYRE_STREAM_EXISTS || stream.len == 0 || !is_utf8(stream))
    return GYRE_INVALID;
  size_t before = host.appended.count;
  gyre_err error = GYRE_OK;
  for (const char *at = events, *end = at + len; at < end && error == GYRE_OK;) {
    uint32_t size = 0;
    if (end - at >= 32) memcpy(&size, at, sizeof size);
    error = size < 32 || size > (size_t)(end - at) ? GYRE_INVALID : append_one(at, size, stream, expected);
    expected = GYRE_STREAM_EXISTS;
    at += size;
  }
  if (error == GYRE_OK && (host.appended.count > MAX_APPENDED || !spend(stream.len + (size_t)len)))
    error = GYRE_QUOTA;
  if (error != GYRE_OK) drop_appended(before);
  return error;
}

static gyre_err stage(gyre_str key, gyre_str value, bool deleted) {
  gyre_err e = check_key(key);
  if (e != GYRE_OK) return e;
  if (host.current < 0) return GYRE_INVALID;
  if (value.len > MAX_VALUE) return GYRE_TOO_LARGE;
  if (host.writes.count >= MAX_WRITES || !spend(key.len + value.len)) return GYRE_QUOTA;
  *(struct write *)add(&host.writes, sizeof(struct write)) =
      (struct write){host.current, copy(key), copy(value), deleted};
  if (deleted) {
    unset(&host.staged, key);
  } else {
    set(&host.staged, key, value);
  }
  return GYRE_OK;
}

int32_t gyre_1_state_get(const void *key, int32_t key_len, void *into, int32_t cap) {
  gyre_err error = check_key(given(key, key_len));
  if (error != GYRE_OK) return error;
  struct entry *e = find(&host.staged, given(key, key_len));
  return e == NULL ? GYRE_NOT_FOUND : give(e->value, into, cap);
}

int32_t gyre_1_state_put(const void *key, int32_t key_len, const void *value, int32_t len) {
  return stage(given(key, key_len), given(value, len), false);
}

int32_t gyre_1_state_del(const void *key, int32_t key_len) {
  return stage(given(key, key_len), (gyre_str){0, 0}, true);
}

int32_t gyre_1_state_scan(const void *prefix, int32_t prefix_len, const void *after, int32_t after_len,
                          int32_t limit, void *into, int32_t cap) {
  const struct entry *entries = host.staged.items;
  char *at = into, *end = at + cap;
  for (size_t i = 0; i < host.staged.count && limit > 0; i++) {
    gyre_str key = entries[i].key, value = entries[i].value;
    if (!gyre_has_prefix(key, given(prefix, prefix_len)) || compare(key, given(after, after_len)) <= 0)
      continue;
    if (8 + key.len + value.len > (size_t)(end - at)) break;
    put32(&at, (uint32_t)key.len);
    put32(&at, (uint32_t)value.len);
    put(&at, key.at, key.len);
    put(&at, value.at, value.len);
    limit--;
  }
  return (int32_t)(at - (char *)into);
}

int32_t gyre_1_stream_read(const void *stream, int32_t stream_len, int64_t from, int32_t limit, void *into,
                           int32_t cap) {
  const gyre_event *found[MAX_EVENTS];
  size_t count = 0, all = 0;
  for (size_t i = 0; i < host.events.count; i++) {
    const gyre_event *e = event_of(i);
    if (!gyre_equal(e->stream, given(stream, stream_len))) continue;
    all++;
    if ((int64_t)e->version >= from && count < MAX_EVENTS && (int32_t)count < limit) found[count++] = e;
  }
  if (all == 0) return GYRE_NOT_FOUND;
  gyre_str batch = encode(found, count);
  int32_t n = give(batch, into, cap);
  drop(batch);
  return n;
}

int32_t gyre_1_config_get(const void *name, int32_t name_len, void *into, int32_t cap) {
  gyre_str config = host.config.len > 0 ? host.config : GYRE_STR("{}");
  if (name_len == 0) return give(config, into, cap);
  gyre_str value = gyre_json_get(config, given(name, name_len));
  return value.len == 0 ? GYRE_NOT_FOUND : give(value, into, cap);
}

int32_t gyre_1_secret_get(const void *name, int32_t name_len, void *into, int32_t cap) {
  struct entry *e = find(&host.secrets, given(name, name_len));
  return e == NULL ? GYRE_NOT_FOUND : give(e->value, into, cap);
}

int32_t gyre_1_http(const void *request, int32_t request_len, void *into, int32_t cap) {
  gyre_str response = {0, 0};
  if (host.http == NULL) return GYRE_UNSUPPORTED;
  gyre_err error = host.http(given(request, request_len), &response);
  return error < 0 ? error : give(response, into, cap);
}

void gyre_1_log(int32_t level, const void *text, int32_t len) {
  if (len > MAX_LINE) len = MAX_LINE;
  *(gyre_test_line *)add(&host.lines, sizeof(gyre_test_line)) =
      (gyre_test_line){level, copy(given(text, len))};
}

int32_t gyre_1_metric(int32_t kind, const void *name, int32_t name_len, double value) {
  struct series *s = find_series(given(name, name_len));
  if (name_len == 0 || kind < 0 || kind > 2) return GYRE_INVALID;
  if (s == NULL) {
    if (host.series.count == MAX_SERIES) return GYRE_QUOTA;
    s = add(&host.series, sizeof(struct series));
    *s = (struct series){copy(given(name, name_len)), 0};
  }
  s->value = kind == 0 ? s->value + value : value;
  return GYRE_OK;
}

int64_t gyre_1_now_us(void) {
  return host.current < 0 ? 0 : event_of(host.batch_first + (size_t)host.current)->time_us;
}

void gyre_1_random(void *into, int32_t len) {
  for (int32_t i = 0; i < len; i++) {
    host.random ^= host.random << 13;
    host.random ^= host.random >> 7;
    host.random ^= host.random << 17;
    ((uint8_t *)into)[i] = (uint8_t)host.random;
  }
}

void gyre_1_fail(int32_t code, const void *text, int32_t len) {
  fprintf(stderr, "the plugin failed with code %d: %.*s\n", code, (int)len, (const char *)text);
  gyre_1_log(GYRE_ERROR, text, len);
  longjmp(host.failed, 1);
}
