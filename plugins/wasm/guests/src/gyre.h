// The part of ABI gyre_1 that these guests use.
#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("gyre_1"), import_name(#name))) extern
#define EXPORT(name) __attribute__((export_name(#name)))

IMPORT(batch_read) int32_t batch_read(int32_t offset, void *into, int32_t capacity);
IMPORT(event_begin) int32_t event_begin(int32_t index);
IMPORT(event_result) int32_t event_result(int32_t index, int32_t action, int32_t delay_ms, const void *message, int32_t message_len);
IMPORT(fail) void gyre_fail(int32_t code, const void *text, int32_t len);
IMPORT(append) int32_t append(const void *stream, int32_t stream_len, int64_t expected, const void *events, int32_t events_len);
IMPORT(state_get) int32_t state_get(const void *key, int32_t key_len, void *into, int32_t capacity);
IMPORT(state_put) int32_t state_put(const void *key, int32_t key_len, const void *value, int32_t value_len);
IMPORT(log) void gyre_log(int32_t level, const void *text, int32_t len);

struct header {
  uint32_t magic;
  uint16_t version, header_len;
  uint32_t count, total_len;
  int64_t now_us;
  uint32_t attempt, flags;
};

struct event {
  uint32_t entry_len;
  uint16_t fixed_len, flags;
  uint64_t position, version;
  int64_t time_us;
  uint8_t id[16];
  uint16_t stream_len, type_len;
  uint32_t data_len, meta_len, attempt;
};
