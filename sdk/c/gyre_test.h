// gyre_test.h runs a plugin in unit tests, natively: without a sandbox or a server.
//
//	#include <assert.h>
//	#include "gyre_test.h"
//
//	int main(void) {
//	  gyre_test_event placed = {.stream = "order-1", .type = "OrderPlaced", .data = "{\"total\":10}"};
//	  gyre_test_handle(&placed, 1);
//	  assert(gyre_equal(gyre_test_state("OrderPlaced"), GYRE_STR("1")));
//	}
//
// Link the plugin, gyre.c, gyre_json.c and gyre_test.c with it. What a handler did is kept up to the event
// that it retries or parks, as in a lane. The host keeps the limits of a batch, and grants everything; gyre
// plugin test runs the module itself, with what its manifest asks for.
//
// What these functions return is valid until the next gyre_test_handle, gyre_test_load or gyre_test_reset.
#ifndef GYRE_TEST_H
#define GYRE_TEST_H

#include "gyre.h"

// gyre_test_event is an event to handle. It gets the next position, and the next version of its stream.
typedef struct {
  const char *stream, *type;
  const char *data;      // JSON, unless binary; NULL is empty
  const char *metadata;  // a JSON object, or NULL
  int64_t time_us;       // recorded then; 0 is a fixed day, a second later for each event
  uint32_t attempt;      // 0 is the first
  bool binary, replay;
} gyre_test_event;

// gyre_test_result is what was decided about an event.
typedef struct {
  const char *action;  // ack, skip, retry, park or stop; empty if it was not handled
  uint32_t delay_ms;   // of a retry
  gyre_str text;       // a reason; the data of a map, the key of a partitioner
} gyre_test_result;

// gyre_test_appended is an event that the handler appended.
typedef struct {
  size_t event;  // that it comes of: an index of those given to gyre_test_handle
  int64_t expected;
  gyre_str stream, type, data, metadata;
  bool binary;
} gyre_test_appended;

// gyre_test_line is a log line.
typedef struct {
  int32_t level;
  gyre_str text;
} gyre_test_line;

void gyre_test_reset(void);  // forgets all: state, events, configuration, secrets
void gyre_test_config(const char *json);
void gyre_test_secret(const char *name, const char *value);
void gyre_test_put(const char *key, const char *value);                         // sets a key of the state
void gyre_test_http(gyre_err (*answer)(gyre_str request, gyre_str *response));  // else it is unsupported

// gyre_test_handle hands events to the plugin, in one batch as long as all goes well. It goes on behind an
// event that is parked, and ends at one that is retried or at a stop. The events are added to their streams,
// which the handler can read.
void gyre_test_handle(const gyre_test_event *events, size_t count);

// gyre_test_load hands out the events of a file such as testdata/events.ndjson: an object a line, with
// stream, type, data and metadata, as gyre import takes them. It ends the program if there is no such file.
void gyre_test_load(const char *file);

// gyre_test_query asks the plugin's GYRE_QUERY. action is ack, or park for an error.
gyre_test_result gyre_test_query(gyre_str query);

// These are of the events that were handled last.
size_t gyre_test_events(void);
gyre_test_result gyre_test_result_of(size_t event);
size_t gyre_test_count_appended(void);
gyre_test_appended gyre_test_appended_at(size_t index);
size_t gyre_test_count_lines(void);
gyre_test_line gyre_test_line_at(size_t index);

// These are of all that was handled.
gyre_str gyre_test_state(const char *key);  // at is NULL if there is none
size_t gyre_test_count_keys(void);
double gyre_test_metric(const char *name);  // the sum of a counter, the last value of others

#endif
