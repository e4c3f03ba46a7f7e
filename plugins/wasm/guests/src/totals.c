// totals.wasm: reads every event's JSON, adds up its numbers by the length of their name, and
// keeps the totals in state. It emits an event for each multiple of 16. A query is answered with the
// totals.
#include "gyre.h"

static uint8_t batch[8 << 20];
static int64_t totals[64];

static uint32_t scan(const uint8_t *at, const uint8_t *end) {
  uint32_t hash = 2166136261u, name = 0;
  while (at < end) {
    uint8_t c = *at++;
    if (c == '"') {
      const uint8_t *start = at;
      while (at < end && *at != '"') {
        hash = (hash ^ *at) * 16777619u;
        at += *at == '\\' ? 2 : 1;
      }
      name = (uint32_t)(at - start);
      at++;
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      int64_t n = c == '-' ? 0 : c - '0';
      while (at < end && *at >= '0' && *at <= '9') n = n * 10 + (*at++ - '0');
      totals[name % 64] += c == '-' ? -n : n;
    }
  }
  return hash;
}

static void emit(uint32_t hash) {
  static const char type[] = "Sixteen";
  uint8_t e[32 + sizeof type - 1 + 10] = {sizeof e, 0, 0, 0, sizeof type - 1, 0, 0, 0, 10};
  for (uint32_t i = 0; i < sizeof type - 1; i++) e[32 + i] = type[i];
  e[sizeof e - 10] = e[sizeof e - 1] = '"';
  for (int i = 0; i < 8; i++) e[sizeof e - 9 + i] = "0123456789abcdef"[hash >> 4 * i & 15];
  append("sixteens", 8, -1, e, sizeof e);
}

EXPORT(gyre_handle) int32_t handle(int32_t length, int32_t count, int32_t attempt) {
  batch_read(0, batch, sizeof batch);
  const uint8_t *at = batch + ((struct header *)batch)->header_len;
  state_get("totals", 6, totals, sizeof totals);
  for (int32_t i = 0; i < count; i++) {
    const struct event *e = (const struct event *)at;
    event_begin(i);
    const uint8_t *data = at + e->fixed_len + e->stream_len + e->type_len;
    uint32_t hash = scan(data, data + e->data_len);
    if (e->position % 16 == 0) emit(hash);
    at += e->entry_len;
  }
  state_put("totals", 6, totals, sizeof totals);
  return 0;
}

EXPORT(gyre_query) int32_t query(int32_t length) {
  state_get("totals", 6, totals, sizeof totals);
  return event_result(0, 0, 0, totals, sizeof totals);
}
