// gyre.h is for plugins written in C: code that Gyre runs next to the log, in a sandbox. A plugin
// handles the events of a subscription. What it appends, its state and its place in the log are
// written together, or not at all, so each event has its effect once.
//
//	#include "gyre.h"
//
//	static gyre_result count(const gyre_event *e) {
//	  int64_t sum;
//	  return gyre_result_of(gyre_add(e->type, 1, &sum));
//	}
//
//	GYRE_HANDLER(count)
//
// A module has one of GYRE_HANDLER, GYRE_FILTER, GYRE_MAP, GYRE_PARTITION and GYRE_VALIDATE, and
// all of them take such a function. A projection is a handler that appends nothing; GYRE_QUERY beside it
// answers queries.
//
// Strings have a length, and need not end in a zero byte. What functions of this header return, and
// what an event points to, is valid until the plugin's function returns. There is no C library: no
// malloc but gyre_alloc, and no files. Natively the same code runs in unit tests; see gyre_test.h.
#ifndef GYRE_H
#define GYRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// gyre_str is text, or bytes.
typedef struct {
  const char *at;
  size_t len;
} gyre_str;

// GYRE_STR is a literal as a gyre_str.
#define GYRE_STR(literal) ((gyre_str){(literal), sizeof(literal) - 1})

gyre_str gyre_str_of(const char *text);  // text ends in a zero byte
bool gyre_equal(gyre_str a, gyre_str b);
bool gyre_has_prefix(gyre_str text, gyre_str prefix);

// gyre_err is the answer of a function that can fail.
typedef int32_t gyre_err;

enum {
  GYRE_OK = 0,
  GYRE_INVALID = -1,    // an argument, such as a key that is empty or not UTF-8
  GYRE_DENIED = -2,     // the binding does not grant it
  GYRE_TOO_LARGE = -3,  // a key, a value or an event
  GYRE_NOT_FOUND = -4,  // no such key, stream, member or secret
  GYRE_QUOTA = -5,      // effects of the batch, or state of the binding
  GYRE_CLOSED = -6,
  GYRE_CONFLICT = -7,  // the stream is at another version
  GYRE_IO = -8,
  GYRE_UNSUPPORTED = -9,  // by this version of Gyre
};

gyre_str gyre_error_text(gyre_err error);

// gyre_event is an event to handle.
typedef struct {
  uint64_t position;  // in the log
  uint64_t version;   // in its stream
  int64_t time_us;    // when it was recorded, in µs since 1970
  uint8_t id[16];
  uint32_t attempt;  // 1 for the first
  bool replay;       // it was parked, and is handled again
  bool is_json;      // data is JSON
  gyre_str stream, type, data;
  gyre_str metadata;  // a JSON object, or empty
} gyre_event;

// gyre_result decides about an event. Use the functions below.
typedef struct {
  int32_t action;
  uint32_t delay_ms;
  gyre_str text;
} gyre_result;

// Of every kind of plugin:
gyre_result gyre_park(gyre_str reason);  // set the event aside with a reason; those after it go on

// Of handlers:
gyre_result gyre_done(void);
gyre_result gyre_skip(void);  // done, and counted as skipped
// gyre_retry drops what was done for the event. It is tried again after a time, or after the backoff
// of the binding if that is 0.
gyre_result gyre_retry(uint32_t after_ms, gyre_str reason);
gyre_result gyre_stop(gyre_str reason);      // stops the binding until somebody resumes it
gyre_result gyre_result_of(gyre_err error);  // done, or else a retry with the error's text

// Of filters, maps, partitioners and validators:
gyre_result gyre_keep(void);
gyre_result gyre_drop(void);
gyre_result gyre_data(gyre_str data);  // the event has this data
gyre_result gyre_key(gyre_str key);    // the event belongs to this partition
gyre_result gyre_accept(void);
gyre_result gyre_refuse(gyre_str reason);

// Of queries:
gyre_result gyre_answer(gyre_str answer);  // at most 1 MiB; people and other programs expect JSON

// GYRE_TRY returns from a handler if a call fails: the event is tried again.
#define GYRE_TRY(call)                                       \
  do {                                                       \
    gyre_err gyre_error_ = (call);                           \
    if (gyre_error_ < 0) return gyre_result_of(gyre_error_); \
  } while (0)

// gyre_function handles one event.
typedef gyre_result (*gyre_function)(const gyre_event *event);

// gyre_query_function answers a query, a text of at most 64 KiB that means what the plugin says, from the
// state of a lane, with gyre_answer; gyre_park is an error. It may read state, configuration, and log.
typedef gyre_result (*gyre_query_function)(gyre_str query);

// Expected versions of a stream, beside versions from 0 on.
enum { GYRE_ANY_VERSION = -1, GYRE_NO_STREAM = -2, GYRE_STREAM_EXISTS = -3 };

// gyre_new_event is an event to append. Its id is made by the host, the same each time the event that
// it comes of is handled.
typedef struct {
  gyre_str type;
  gyre_str data;      // JSON, unless binary
  gyre_str metadata;  // a JSON object, or empty
  bool binary;
} gyre_new_event;

// gyre_append appends an event with JSON data to a stream at any version. The binding has to grant
// append for the stream.
gyre_err gyre_append(gyre_str stream, gyre_str type, gyre_str data);

// gyre_append_to appends events to a stream, one after the other, if it is at an expected version when
// the batch is committed. If it is not, the batch is handled again.
gyre_err gyre_append_to(gyre_str stream, int64_t expected, const gyre_new_event *events, size_t count);

// State is a map from keys to values, which is changed together with the place in the log. A key has 1 to
// 512 bytes of UTF-8, a value at most 256 KiB. The binding has to grant state.
gyre_err gyre_get(gyre_str key, gyre_str *value);  // GYRE_NOT_FOUND if there is none
gyre_err gyre_put(gyre_str key, gyre_str value);
gyre_err gyre_delete(gyre_str key);

// A number is stored as decimal digits. It is 0 if there is none, and GYRE_INVALID if it is no number.
gyre_err gyre_get_int(gyre_str key, int64_t *n);
gyre_err gyre_put_int(gyre_str key, int64_t n);
gyre_err gyre_add(gyre_str key, int64_t n, int64_t *sum);  // sum may be NULL

// gyre_scan calls visit with the entries whose keys begin with a prefix, in the byte order of keys, until it
// returns false. Key and value are valid until it returns. It may change the state.
typedef bool (*gyre_visit)(void *context, gyre_str key, gyre_str value);
gyre_err gyre_scan(gyre_str prefix, gyre_visit visit, void *context);

// gyre_read_stream reads up to limit events of a stream from a version on, at most 256. The binding has to
// grant streams.read. A stream without events is GYRE_NOT_FOUND.
gyre_err gyre_read_stream(gyre_str stream, uint64_t from, uint32_t limit, gyre_event **events, size_t *count);

// gyre_config reads a member of the binding's configuration as JSON, or all of it for an empty name.
gyre_err gyre_config(gyre_str name, gyre_str *json);
gyre_err gyre_secret(gyre_str name, gyre_str *value);  // the binding has to grant it

// gyre_http sends a request, a JSON object {method, url, headers, bodyBase64}, and waits for the response,
// {status, headers, bodyBase64}. The binding has to grant the host and port. If the batch is handled
// again, so is the request.
gyre_err gyre_http(gyre_str request, gyre_str *response);

// gyre_log logs the lines of a text. A line has at most 4 KiB, and a batch 64 KiB; what is more is cut.
enum { GYRE_DEBUG, GYRE_INFO, GYRE_WARN, GYRE_ERROR };
void gyre_log(int32_t level, gyre_str text);

// A binding has at most 64 counters, gauges and histograms.
gyre_err gyre_count(gyre_str name, double n);
gyre_err gyre_gauge(gyre_str name, double value);
gyre_err gyre_observe(gyre_str name, double value);

int64_t gyre_now_us(void);                              // logical time: when the event was recorded
void gyre_random(void *into, size_t n);                 // depends on the binding and the event only
_Noreturn void gyre_fail(int32_t code, gyre_str text);  // ends the batch, which fails with a text

// gyre_alloc returns memory, aligned to 16, that is freed when the plugin's function returns.
void *gyre_alloc(size_t n);

// A gyre_str is JSON where a name says so. Readers take any bytes, and find nothing in what is not JSON.
gyre_str gyre_json_get(gyre_str object, gyre_str name);  // a member's JSON; len is 0 if there is none
bool gyre_json_int(gyre_str json, int64_t *n);           // false if it is no whole number that fits
bool gyre_json_bool(gyre_str json, bool *b);
bool gyre_json_text(gyre_str json, gyre_str *text);  // false if it is no string

// gyre_json_next iterates over the elements of an array, or the members of an object: name is then
// the name's JSON. at begins as 0.
bool gyre_json_next(gyre_str json, size_t *at, gyre_str *name, gyre_str *value);

// gyre_buffer makes texts. A zero gyre_buffer is empty.
typedef struct {
  char *at;
  size_t len, cap;
} gyre_buffer;

void gyre_write(gyre_buffer *b, gyre_str text);
void gyre_write_int(gyre_buffer *b, int64_t n);
void gyre_write_quoted(gyre_buffer *b, gyre_str text);  // as a JSON string
gyre_str gyre_written(const gyre_buffer *b);

// These write a JSON object: gyre_json_open, members, gyre_json_close.
void gyre_json_open(gyre_buffer *b);
void gyre_json_put_text(gyre_buffer *b, const char *name, gyre_str value);
void gyre_json_put_int(gyre_buffer *b, const char *name, int64_t value);
void gyre_json_put_bool(gyre_buffer *b, const char *name, bool value);
void gyre_json_put(gyre_buffer *b, const char *name, gyre_str json);
void gyre_json_close(gyre_buffer *b);

// What the macros are made of. A module has only what it uses, so its imports say what it does.
int32_t gyre_run_handler(gyre_function function, int32_t length);
int32_t gyre_run_judge(gyre_function function, int32_t length);
int32_t gyre_run_query(gyre_query_function function, int32_t length);

#ifdef __wasm__
// The parameters are named so that they hide nothing of the plugin.
#define GYRE_ENTRY(name, run, function)                                                       \
  __attribute__((export_name(#name))) int32_t name(int32_t gyre_length_, int32_t gyre_count_, \
                                                   int32_t gyre_attempt_) {                   \
    (void)gyre_count_;                                                                        \
    (void)gyre_attempt_;                                                                      \
    return run(function, gyre_length_);                                                       \
  }
#define GYRE_QUERY(function)                                                             \
  __attribute__((export_name("gyre_query"))) int32_t gyre_query_(int32_t gyre_length_) { \
    return gyre_run_query(function, gyre_length_);                                       \
  }
#else
// A unit test finds the plugin by these.
extern gyre_query_function gyre_registered_query;
#define GYRE_QUERY(function) gyre_query_function gyre_registered_query = function;
typedef int32_t (*gyre_runner)(gyre_function function, int32_t length);
extern const gyre_runner gyre_registered_runner;
extern const gyre_function gyre_registered_function;
#define GYRE_ENTRY(name, run, function)           \
  const gyre_runner gyre_registered_runner = run; \
  const gyre_function gyre_registered_function = function;
#endif

#define GYRE_HANDLER(function) GYRE_ENTRY(gyre_handle, gyre_run_handler, function)
#define GYRE_FILTER(function) GYRE_ENTRY(gyre_filter, gyre_run_judge, function)
#define GYRE_MAP(function) GYRE_ENTRY(gyre_map, gyre_run_judge, function)
#define GYRE_PARTITION(function) GYRE_ENTRY(gyre_partition, gyre_run_judge, function)
#define GYRE_VALIDATE(function) GYRE_ENTRY(gyre_validate, gyre_run_judge, function)

#endif
