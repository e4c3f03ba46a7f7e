// native.c runs the guest of the conformance kit on the host for unit tests, natively: it has to do what it
// does in a node. The argument is cases.json. Cases that the host has no way to say are left out.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gyre_test.h"

enum { MAX_EVENTS = 32, MAX_LINES = 64 };

static gyre_str none;
static int failures, ran;

static gyre_str member(gyre_str object, const char *name) { return gyre_json_get(object, gyre_str_of(name)); }

static gyre_str text_of(gyre_str json) {
  gyre_str text = none;
  gyre_json_text(json, &text);
  return text;
}

static int64_t int_of(gyre_str json) {
  int64_t n = 0;
  gyre_json_int(json, &n);
  return n;
}

// own copies a text to memory of the C library, which outlives the batch.
static char *own(gyre_str text) {
  char *copy = malloc(text.len + 1);
  if (copy == NULL) exit(2);
  if (text.len > 0) memcpy(copy, text.at, text.len);
  copy[text.len] = 0;
  return copy;
}

// expand writes pieces such as {k*513} out.
static gyre_str expand(gyre_str text) {
  gyre_buffer b = {0};
  for (size_t i = 0; i < text.len; i++) {
    size_t end = i + 3;
    int64_t n = 0;
    if (text.at[i] == '{' && end < text.len && text.at[i + 2] == '*') {
      while (end < text.len && text.at[end] != '}') n = n * 10 + (text.at[end++] - '0');
    }
    if (n == 0) {
      gyre_write(&b, (gyre_str){text.at + i, 1});
      continue;
    }
    for (; n > 0; n--) gyre_write(&b, (gyre_str){text.at + i + 1, 1});
    i = end;
  }
  return gyre_written(&b);
}

static uint32_t crc32(gyre_str text) {
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < text.len; i++) {
    crc ^= (unsigned char)text.at[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

// is reports whether a text is the wanted one, which is a length and a checksum if it is long.
static bool is(gyre_str got, gyre_str want) {
  if (got.len <= 256) return gyre_equal(got, want);
  char sum[64];
  snprintf(sum, sizeof sum, "%zu bytes, CRC-32 %08x", got.len, (unsigned)crc32(got));
  return gyre_equal(gyre_str_of(sum), want);
}

static void check(bool ok, gyre_str name, const char *what, gyre_str got) {
  if (ok) return;
  failures++;
  printf("%.*s: %s: %.*s\n", (int)name.len, name.at, what, (int)(got.len < 200 ? got.len : 200), got.at);
}

static bool has_place(gyre_str events) {
  gyre_str key, e;
  for (size_t at = 0; gyre_json_next(events, &at, &key, &e);) {
    if (member(e, "position").len + member(e, "id").len + member(e, "flags").len > 0) return true;
  }
  return false;
}

// give gives the host what a case has. Its strings are those of the file, and end in no zero.
static void give(gyre_str host) {
  gyre_str key, value;
  gyre_test_reset();
  for (size_t at = 0; gyre_json_next(member(host, "state"), &at, &key, &value);) {
    char *k = own(expand(text_of(key))), *v = own(expand(text_of(value)));
    gyre_test_put(k, v);
    free(k);
    free(v);
  }
  for (size_t at = 0; gyre_json_next(member(host, "secrets"), &at, &key, &value);) {
    char *k = own(text_of(key)), *v = own(text_of(value));
    gyre_test_secret(k, v);
    free(k);
    free(v);
  }
  if (member(host, "config").len > 0) {
    char *config = own(text_of(member(host, "config")));
    gyre_test_config(config);
    free(config);
  }
}

// read_events makes events of a case, up to one.
static size_t read_events(gyre_str list, size_t end, gyre_test_event *events) {
  gyre_str key, e, line;
  size_t count = 0;
  for (size_t at = 0; count < end && gyre_json_next(list, &at, &key, &e);) {
    gyre_buffer script = {0};
    for (size_t lines = 0; gyre_json_next(member(e, "script"), &lines, &key, &line);) {
      if (script.len > 0) gyre_write(&script, GYRE_STR("\n"));
      gyre_write(&script, expand(text_of(line)));
    }
    events[count++] = (gyre_test_event){.stream = "s",
                                        .type = "Script",
                                        .data = own(gyre_written(&script)),
                                        .metadata = own(text_of(member(e, "metadata"))),
                                        .binary = true};
  }
  return count;
}

static void check_logs(gyre_str name, gyre_str want) {
  static const char *const levels[] = {"debug", "info", "warn", "error"};
  gyre_str key, line;
  size_t i = 0;
  for (size_t at = 0; gyre_json_next(want, &at, &key, &line); i++) {
    if (i >= gyre_test_count_lines()) continue;
    gyre_test_line got = gyre_test_line_at(i);
    gyre_str text = text_of(line), level = gyre_str_of(levels[got.level]);
    bool is_level = gyre_has_prefix(text, level);
    text.at += level.len + 1;
    text.len -= level.len + 1;
    check(is_level && is(got.text, text), name, "a log line", got.text);
  }
  check(i == gyre_test_count_lines(), name, "the number of log lines", none);
}

static void check_results(gyre_str name, gyre_str want) {
  static const char *const actions[] = {"ack", "retry", "park", "skip"};
  gyre_str key, r;
  for (size_t at = 0; gyre_json_next(want, &at, &key, &r);) {
    gyre_test_result got = gyre_test_result_of((size_t)int_of(text_of(key)));
    check(strcmp(got.action, actions[int_of(member(r, "action"))]) == 0, name, "an action",
          gyre_str_of(got.action));
    check(got.delay_ms == int_of(member(r, "delayMs")), name, "a delay", none);
    check(is(got.text, text_of(member(r, "text"))), name, "a reason", got.text);
  }
}

static void check_appended(gyre_str name, gyre_str want, size_t end) {
  gyre_str key, a;
  size_t i = 0;
  for (size_t at = 0; gyre_json_next(want, &at, &key, &a);) {
    if (int_of(member(a, "event")) >= (int64_t)end || i >= gyre_test_count_appended()) continue;
    gyre_test_appended got = gyre_test_appended_at(i++);
    check(got.expected == int_of(member(a, "expected")), name, "an expected version", got.type);
    check(is(got.stream, text_of(member(a, "stream"))) && is(got.type, text_of(member(a, "type"))), name,
          "an append", got.type);
    check(is(got.data, text_of(member(a, "data"))) && is(got.metadata, text_of(member(a, "metadata"))), name,
          "data", got.data);
  }
  check(i == gyre_test_count_appended(), name, "the number of appended events", none);
}

// check_state looks for the last write of each key.
static void check_state(gyre_str name, gyre_str want, size_t end) {
  gyre_str key, w;
  for (size_t at = 0; gyre_json_next(want, &at, &key, &w);) {
    gyre_str other;
    bool is_last = true;
    for (size_t next = at; gyre_json_next(want, &next, &key, &other);) {
      bool is_same = gyre_equal(member(other, "key"), member(w, "key"));
      if (is_same && int_of(member(other, "event")) < (int64_t)end) is_last = false;
    }
    if (!is_last || int_of(member(w, "event")) >= (int64_t)end) continue;
    char *k = own(text_of(member(w, "key")));
    if (strstr(k, "CRC-32") == NULL) {  // else the case has only the checksum of the key
      gyre_str value = gyre_test_state(k);
      bool is_there = value.at != NULL;
      check(is_there == (member(w, "deleted").len == 0), name, "a key", gyre_str_of(k));
      if (is_there) check(is(value, text_of(member(w, "value"))), name, "a value", value);
    }
    free(k);
  }
}

static void run(gyre_str c) {
  gyre_test_event events[MAX_EVENTS];
  gyre_str want = member(c, "want"), host = member(c, "host"), list = member(c, "events"), key, r;
  char *owned = own(text_of(member(c, "name")));
  gyre_str name = gyre_str_of(owned);
  size_t end = MAX_EVENTS;
  for (size_t at = 0; gyre_json_next(member(want, "results"), &at, &key, &r);) {
    int64_t action = int_of(member(r, "action"));
    if (end == MAX_EVENTS && (action == 1 || action == 2)) end = (size_t)int_of(text_of(key));
  }
  bool stops = int_of(member(want, "verdict")) != 0;
  give(host);
  size_t count = read_events(list, end == MAX_EVENTS ? end : end + 1, events);
  gyre_test_handle(events, count);
  if (stops) end = 0;
  check_logs(name, member(want, "logs"));
  check_results(name, member(want, "results"));
  check_appended(name, member(want, "appended"), end);
  check_state(name, member(want, "writes"), end);
  for (size_t i = 0; i < count; i++) {
    free((char *)events[i].data);
    free((char *)events[i].metadata);
  }
  free(owned);
  ran++;
}

static void queries(void) {
  gyre_str name = GYRE_STR("queries");
  gyre_test_put("b", "two");
  gyre_test_result r = gyre_test_query(GYRE_STR("get|b\nscan||9\nanswer|{}"));
  check(strcmp(r.action, "ack") == 0 && is(r.text, GYRE_STR("{}")), name, "an answer", r.text);
  check(gyre_test_count_lines() == 3 && is(gyre_test_line_at(0).text, GYRE_STR("get: two")), name,
        "a log line", none);
  r = gyre_test_query(GYRE_STR("put|b|x\npark|no such order"));
  check(strcmp(r.action, "park") == 0 && is(r.text, GYRE_STR("no such order")), name, "a reason", r.text);
  check(is(gyre_test_state("b"), GYRE_STR("two")), name, "a change of the state", none);
}

int main(int argc, char **argv) {
  FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
  if (f == NULL) return 2;
  static char text[4 << 20];
  gyre_str all = {text, fread(text, 1, sizeof text, f)}, key, c;
  fclose(f);
  for (size_t at = 0; gyre_json_next(member(all, "gyre_handle"), &at, &key, &c);) {
    gyre_str host = member(c, "host");
    size_t left_out = member(c, "later").len + member(member(c, "want"), "failed").len +
                      member(host, "answers").len + member(host, "streams").len + member(host, "http").len;
    if (left_out == 0 && !has_place(member(c, "events"))) run(c);
  }
  gyre_test_reset();
  queries();
  gyre_test_reset();
  printf("%d cases, %d failures\n", ran, failures);
  return failures > 0 || ran < 20;
}
