// unfit.wasm: judges events, and fails on those whose type says how.
#include "gyre.h"

static uint8_t batch[8 << 20], large[(1 << 20) + 1];
static volatile uint32_t sink;

enum { ACK = 0, PARK = 2, SKIP = 3 };

static int32_t is(const uint8_t *type, uint32_t len, const char *name) {
  uint32_t i = 0;
  while (i < len && name[i] && type[i] == (uint8_t)name[i]) i++;
  return i == len && !name[i];
}

static uint32_t recurse(uint32_t n) {
  volatile uint32_t here[8];
  here[n % 8] = n;
  return recurse(n + 1) + here[(n + sink) % 8];
}

// unfit fails as a type says. It returns 0 if that says nothing, and the call's verdict below 0.
static int32_t unfit(int32_t index, const uint8_t *type, uint32_t len) {
  if (is(type, len, "Loop")) for (;;) sink++;
  if (is(type, len, "Trap")) __builtin_trap();
  if (is(type, len, "Recurse")) return (int32_t)recurse(0);
  if (is(type, len, "Grow")) {
    while (__builtin_wasm_memory_grow(0, 1) != (unsigned long)-1) sink++;
    __builtin_trap();
  }
  if (is(type, len, "Claim")) return event_result(index, ACK, 0, batch, -1) + 1;        // 4 GiB
  if (is(type, len, "Outside")) return event_result(index, ACK, 0, (void *)-16, 64) + 1; // of its memory
  if (is(type, len, "Fail")) gyre_fail(7, "no more", 7);
  if (is(type, len, "Return")) return -1;
  if (is(type, len, "Action")) return event_result(index, 77, 0, 0, 0) ? 1 : 1;
  if (is(type, len, "Retry")) return event_result(index, 1, 0, 0, 0) ? 1 : 1;
  if (is(type, len, "None")) return 1;
  if (is(type, len, "Park")) return event_result(index, PARK, 0, "bad\nevent", 9) + 1;
  if (is(type, len, "Large")) return event_result(index, ACK, 0, large, sizeof large) ? 1 : 1;
  if (is(type, len, "Latin")) return event_result(index, ACK, 0, "\xff\xfe", 2) + 1;
  if (is(type, len, "Quote")) return event_result(index, ACK, 0, "\"\xff\"", 3) + 1;
  if (is(type, len, "Half")) return event_result(index, ACK, 0, "{\"a\":", 5) + 1;
  if (is(type, len, "Much")) {
    for (int i = 0; i < 5; i++) event_result(index, ACK, 0, large, sizeof large - 1);
    return 1;
  }
  return 0;
}

static int32_t each(int32_t length, int32_t count, int32_t stream) {
  if (batch_read(0, batch, sizeof batch) != length) return -1;
  const uint8_t *at = batch + ((struct header *)batch)->header_len;
  for (int32_t i = 0; i < count; i++) {
    const struct event *e = (const struct event *)at;
    const uint8_t *strings = at + e->fixed_len, *type = strings + e->stream_len;
    int32_t verdict = unfit(i, type, e->type_len);
    if (verdict < 0) return verdict;
    if (verdict == 0 && stream) event_result(i, ACK, 0, strings, e->stream_len);
    if (verdict == 0 && !stream) {
      large[0] = large[e->type_len + 1] = '"';
      for (uint32_t j = 0; j < e->type_len; j++) large[j + 1] = type[j];
      event_result(i, ACK, 0, large, e->type_len + 2);
    }
    at += e->entry_len;
  }
  return 0;
}

EXPORT(gyre_filter) int32_t gyre_filter(int32_t length, int32_t count, int32_t attempt) { return each(length, count, 0); }
EXPORT(gyre_map) int32_t gyre_map(int32_t length, int32_t count, int32_t attempt) { return each(length, count, 0); }
EXPORT(gyre_partition) int32_t gyre_partition(int32_t length, int32_t count, int32_t attempt) { return each(length, count, 1); }
EXPORT(gyre_validate) int32_t gyre_validate(int32_t length, int32_t count, int32_t attempt) { return each(length, count, 1); }
