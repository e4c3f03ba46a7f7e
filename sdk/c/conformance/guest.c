// The guest of the conformance kit: it does what the data of an event says, and logs the answers. See
// plugins/abi/conformance/README.md.
#include "gyre.h"

enum { MAX_WORDS = 8 };

// command is a line of a script, as words.
struct command {
  gyre_str words[MAX_WORDS];
  size_t count;
};

// next_command takes a line from a script. It is false at its end.
static bool next_command(gyre_str *script, struct command *c) {
  if (script->len == 0) return false;
  size_t at = 0, begin = 0;
  c->count = 0;
  for (; at <= script->len; at++) {
    bool ends = at == script->len || script->at[at] == '\n';
    if (!ends && script->at[at] != '|') continue;
    if (c->count < MAX_WORDS) c->words[c->count++] = (gyre_str){script->at + begin, at - begin};
    begin = at + 1;
    if (ends) break;
  }
  size_t taken = at < script->len ? at + 1 : at;
  *script = (gyre_str){script->at + taken, script->len - taken};
  return true;
}

static bool is(const struct command *c, const char *name, size_t arguments) {
  return c->count == arguments + 1 && gyre_equal(c->words[0], gyre_str_of(name));
}

static int64_t number(gyre_str word) {
  int64_t n = 0;
  gyre_json_int(word, &n);
  return n;
}

// say logs the answer of a command.
static void say(gyre_str command, gyre_str answer) {
  gyre_buffer b = {0};
  gyre_write(&b, command);
  gyre_write(&b, GYRE_STR(": "));
  gyre_write(&b, answer);
  gyre_log(GYRE_INFO, gyre_written(&b));
}

static void say_done(const struct command *c, gyre_err e) { say(c->words[0], gyre_error_text(e)); }

static void say_value(const struct command *c, gyre_err e, gyre_str value) {
  say(c->words[0], e < 0 ? gyre_error_text(e) : value);
}

static void say_int(const struct command *c, gyre_err e, int64_t n) {
  gyre_buffer b = {0};
  gyre_write_int(&b, n);
  say_value(c, e, gyre_written(&b));
}

static void write_part(gyre_buffer *b, gyre_str part) {
  if (b->len > 0) gyre_write(b, GYRE_STR(" "));
  gyre_write(b, part);
}

static void write_int(gyre_buffer *b, int64_t n) {
  write_part(b, (gyre_str){0, 0});
  gyre_write_int(b, n);
}

static void write_bool(gyre_buffer *b, bool is_true) {
  write_part(b, is_true ? GYRE_STR("true") : GYRE_STR("false"));
}

static gyre_str hex(const uint8_t *bytes, size_t n, bool is_id) {
  static const char digits[] = "0123456789abcdef";
  gyre_buffer b = {0};
  for (size_t i = 0; i < n; i++) {
    if (is_id && (i == 4 || i == 6 || i == 8 || i == 10)) gyre_write(&b, GYRE_STR("-"));
    gyre_write(&b, (gyre_str){&digits[bytes[i] >> 4], 1});
    gyre_write(&b, (gyre_str){&digits[bytes[i] & 15], 1});
  }
  return gyre_written(&b);
}

static gyre_str describe(const gyre_event *e) {
  gyre_buffer b = {0};
  gyre_write_int(&b, (int64_t)e->position);
  write_int(&b, (int64_t)e->version);
  write_part(&b, hex(e->id, sizeof e->id, true));
  write_part(&b, e->stream);
  write_part(&b, e->type);
  write_int(&b, e->attempt);
  write_bool(&b, e->replay);
  write_bool(&b, e->is_json);
  write_int(&b, e->time_us);
  write_int(&b, (int64_t)e->data.len);
  write_part(&b, e->metadata);
  return gyre_written(&b);
}

static gyre_str or_none(gyre_str value) { return value.len > 0 ? value : GYRE_STR("none"); }

// say_json logs a value in the metadata, in all its forms.
static void say_json(const struct command *c, const gyre_event *e) {
  gyre_str value = e->metadata, text = GYRE_STR("none");
  for (size_t i = 1; i < c->count; i++) value = gyre_json_get(value, c->words[i]);
  gyre_buffer b = {0};
  int64_t n;
  bool is_true;
  gyre_json_text(value, &text);
  write_part(&b, or_none(value));
  write_part(&b, text);
  if (gyre_json_int(value, &n)) {
    write_int(&b, n);
  } else {
    write_part(&b, GYRE_STR("none"));
  }
  if (gyre_json_bool(value, &is_true)) {
    write_bool(&b, is_true);
  } else {
    write_part(&b, GYRE_STR("none"));
  }
  say(c->words[0], gyre_written(&b));
}

static void say_config(const struct command *c) {
  gyre_str value = {0, 0};
  gyre_config(c->words[1], &value);
  say(c->words[0], or_none(value));
}

static int32_t level(gyre_str word) {
  static const char *const names[] = {"debug", "info", "warn"};
  int32_t l = 0;
  while (l < GYRE_ERROR && !gyre_equal(word, gyre_str_of(names[l]))) l++;
  return l;
}

// scan is how far a scan has come.
struct scan {
  const struct command *command;
  int64_t left;
};

static bool visit(void *context, gyre_str key, gyre_str value) {
  struct scan *s = context;
  gyre_buffer b = {0};
  gyre_write(&b, key);
  gyre_write(&b, GYRE_STR("="));
  gyre_write(&b, value);
  say(s->command->words[0], gyre_written(&b));
  return --s->left > 0;
}

static void read_stream(const struct command *c) {
  gyre_event *events;
  size_t count;
  gyre_err e = gyre_read_stream(c->words[1], (uint64_t)number(c->words[2]), (uint32_t)number(c->words[3]),
                                &events, &count);
  for (size_t i = 0; e == GYRE_OK && i < count; i++) say(c->words[0], describe(&events[i]));
  say_done(c, e);
}

static void append(const struct command *c) {
  const gyre_str *w = c->words;
  gyre_new_event events[2] = {{.type = w[3]}};
  size_t count = 1;
  if (is(c, "two", 4)) {
    events[0].data = events[1].data = GYRE_STR("1");
    events[1].type = w[4];
    count = 2;
  } else {
    events[0].data = w[4];
    events[0].binary = is(c, "bytes", 4);
    if (c->count > 5) events[0].metadata = w[5];
  }
  say_done(c, gyre_append_to(w[1], number(w[2]), events, count));
}

// ask does what reads, and logs the answer. It is false if the command is another.
static bool ask(const struct command *c, const gyre_event *e) {
  const gyre_str *w = c->words;
  gyre_str value = {0, 0};
  if (is(c, "get", 1)) {
    gyre_err error = gyre_get(w[1], &value);
    say_value(c, error == GYRE_NOT_FOUND ? GYRE_OK : error,
              error == GYRE_NOT_FOUND ? GYRE_STR("none") : value);
  } else if (is(c, "scan", 2)) {
    struct scan s = {c, number(w[2])};
    say_done(c, gyre_scan(w[1], visit, &s));
  } else if (is(c, "read", 3)) {
    read_stream(c);
  } else if (is(c, "secret", 1)) {
    say_value(c, gyre_secret(w[1], &value), value);
  } else if (is(c, "http", 1)) {
    say_value(c, gyre_http(w[1], &value), value);
  } else if (is(c, "now", 0)) {
    say_int(c, GYRE_OK, gyre_now_us());
  } else if (is(c, "random", 1)) {
    size_t n = (size_t)number(w[1]);
    uint8_t *bytes = gyre_alloc(n);
    gyre_random(bytes, n);
    say(w[0], hex(bytes, n, false));
  } else if (is(c, "event", 0)) {
    say(w[0], describe(e));
  } else if (is(c, "config", 1)) {
    say_config(c);
  } else if (c->count > 0 && gyre_equal(w[0], GYRE_STR("json"))) {
    say_json(c, e);
  } else {
    return false;
  }
  return true;
}

// act does what has an effect, and logs the answer. It is false if the command is another.
static bool act(const struct command *c) {
  const gyre_str *w = c->words;
  int64_t sum = 0;
  if (is(c, "append", 5) || is(c, "bytes", 4) || is(c, "two", 4)) {
    append(c);
  } else if (is(c, "put", 2)) {
    say_done(c, gyre_put(w[1], w[2]));
  } else if (is(c, "delete", 1)) {
    say_done(c, gyre_delete(w[1]));
  } else if (is(c, "add", 2)) {
    gyre_err error = gyre_add(w[1], number(w[2]), &sum);
    say_int(c, error, sum);
  } else if (is(c, "count", 2)) {
    say_done(c, gyre_count(w[1], (double)number(w[2])));
  } else if (is(c, "gauge", 2)) {
    say_done(c, gyre_gauge(w[1], (double)number(w[2])));
  } else if (is(c, "observe", 2)) {
    say_done(c, gyre_observe(w[1], (double)number(w[2])));
  } else if (is(c, "log", 2)) {
    gyre_log(level(w[1]), w[2]);
  } else {
    return false;
  }
  return true;
}

static gyre_result handle(const gyre_event *e) {
  struct command c;
  for (gyre_str script = e->data; next_command(&script, &c);) {
    if (is(&c, "skip", 0)) return gyre_skip();
    if (is(&c, "retry", 2)) return gyre_retry((uint32_t)number(c.words[1]), c.words[2]);
    if (is(&c, "park", 1)) return gyre_park(c.words[1]);
    if (is(&c, "stop", 1)) return gyre_stop(c.words[1]);
    if (is(&c, "fail", 2)) gyre_fail((int32_t)number(c.words[1]), c.words[2]);
    if (is(&c, "trap", 0)) __builtin_trap();
    if (is(&c, "must", 2)) {
      GYRE_TRY(gyre_put(c.words[1], c.words[2]));
    } else if (!ask(&c, e) && !act(&c)) {
      say(c.words[0], GYRE_STR("no such command"));
    }
  }
  return gyre_done();
}

GYRE_HANDLER(handle)

// judge does what the script of a judge says. It is false if it parks the event, or refuses it, with the
// text.
static bool judge(const gyre_event *e, gyre_str *word, gyre_str *argument) {
  struct command c;
  *word = *argument = (gyre_str){0, 0};
  for (gyre_str script = e->data; next_command(&script, &c);) {
    *word = c.words[0];
    *argument = c.count > 1 ? c.words[1] : (gyre_str){0, 0};
    if (is(&c, "park", 1) || is(&c, "refuse", 1)) return false;
    if (is(&c, "trap", 0)) __builtin_trap();
    if (is(&c, "event", 0)) {
      say(c.words[0], describe(e));
    } else if (is(&c, "config", 1)) {
      say_config(&c);
    } else if (gyre_equal(c.words[0], GYRE_STR("json"))) {
      say_json(&c, e);
    } else if (is(&c, "log", 2)) {
      gyre_log(level(c.words[1]), c.words[2]);
    } else {
      return true;
    }
  }
  return true;
}

static gyre_result filter(const gyre_event *e) {
  gyre_str word, argument;
  if (!judge(e, &word, &argument)) return gyre_park(argument);
  return gyre_equal(word, GYRE_STR("drop")) ? gyre_drop() : gyre_keep();
}

static gyre_result map(const gyre_event *e) {
  gyre_str word, argument;
  return judge(e, &word, &argument) ? gyre_data(argument) : gyre_park(argument);
}

static gyre_result partition(const gyre_event *e) {
  gyre_str word, argument;
  return judge(e, &word, &argument) ? gyre_key(argument) : gyre_park(argument);
}

static gyre_result validate(const gyre_event *e) {
  gyre_str word, argument;
  return judge(e, &word, &argument) ? gyre_accept() : gyre_refuse(argument);
}

// query does what a query says, and answers what it says last.
static gyre_result query(gyre_str script) {
  struct command c;
  while (next_command(&script, &c)) {
    if (is(&c, "park", 1)) return gyre_park(c.words[1]);
    if (is(&c, "answer", 1)) return gyre_answer(c.words[1]);
    if (is(&c, "trap", 0)) __builtin_trap();
    if (!ask(&c, NULL) && !act(&c)) say(c.words[0], GYRE_STR("no such command"));
  }
  return gyre_answer((gyre_str){0, 0});
}

GYRE_QUERY(query)

#ifdef __wasm__  // natively a program has one function, here the handler
GYRE_FILTER(filter)
GYRE_MAP(map)
GYRE_PARTITION(partition)
GYRE_VALIDATE(validate)
#else
const gyre_function gyre_judges[] = {filter, map, partition, validate};
#endif
