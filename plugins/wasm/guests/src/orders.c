// orders.wasm: judges events by the member "total" of their data.
#include "gyre.h"

static uint8_t batch[8 << 20];

enum { ACK = 0, PARK = 2, SKIP = 3 };

// total_of finds the number behind "total": without allocating. Other members may be before it.
static int32_t total_of(const uint8_t *at, const uint8_t *end, int64_t *total) {
  static const char name[] = "\"total\":";
  for (; at + sizeof name - 1 < end; at++) {
    uint32_t i = 0;
    while (i < sizeof name - 1 && at[i] == (uint8_t)name[i]) i++;
    if (i < sizeof name - 1) continue;
    at += i;
    int64_t sign = *at == '-' ? -1 : 1, n = 0;
    for (at += *at == '-'; at < end && *at >= '0' && *at <= '9'; at++) n = n * 10 + (*at - '0');
    *total = sign * n;
    return 1;
  }
  return 0;
}

typedef void judge(int32_t index, const struct event *e, const uint8_t *strings);

static int64_t total(const struct event *e, const uint8_t *strings) {
  const uint8_t *data = strings + e->stream_len + e->type_len;
  int64_t n = 0;
  total_of(data, data + e->data_len, &n);
  return n;
}

static int32_t each(int32_t length, int32_t count, judge *judge) {
  if (batch_read(0, batch, sizeof batch) != length) return -1;
  const uint8_t *at = batch + ((struct header *)batch)->header_len;
  for (int32_t i = 0; i < count; i++) {
    const struct event *e = (const struct event *)at;
    judge(i, e, at + e->fixed_len);
    at += e->entry_len;
  }
  return 0;
}

static void keep(int32_t index, const struct event *e, const uint8_t *strings) {
  if (total(e, strings) < 100) event_result(index, SKIP, 0, 0, 0);
}

static void map(int32_t index, const struct event *e, const uint8_t *strings) {
  uint8_t text[32], *at = text + sizeof text;
  int64_t n = total(e, strings), rest = n < 0 ? -n : n;
  *--at = '}';
  do *--at = '0' + rest % 10; while (rest /= 10);
  if (n < 0) *--at = '-';
  for (const char *name = ":\"mus\"{"; *name; name++) *--at = (uint8_t)*name;
  event_result(index, ACK, 0, at, (int32_t)(text + sizeof text - at));
}

static void partition(int32_t index, const struct event *e, const uint8_t *strings) {
  int32_t n = 0;
  while (n < e->stream_len && strings[n] != '-') n++;
  event_result(index, ACK, 0, strings, n);
}

static void validate(int32_t index, const struct event *e, const uint8_t *strings) {
  static const char why[] = "the total is below 0";
  if (total(e, strings) < 0) event_result(index, PARK, 0, why, sizeof why - 1);
}

EXPORT(gyre_filter) int32_t gyre_filter(int32_t length, int32_t count, int32_t attempt) { return each(length, count, keep); }
EXPORT(gyre_map) int32_t gyre_map(int32_t length, int32_t count, int32_t attempt) { return each(length, count, map); }
EXPORT(gyre_partition) int32_t gyre_partition(int32_t length, int32_t count, int32_t attempt) { return each(length, count, partition); }
EXPORT(gyre_validate) int32_t gyre_validate(int32_t length, int32_t count, int32_t attempt) { return each(length, count, validate); }
