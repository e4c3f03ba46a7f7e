// gyre_imports.h has the functions that the host gives to a module: ABI gyre_1. In a sandbox they are
// imports; natively gyre_test.c has them.
#ifndef GYRE_IMPORTS_H
#define GYRE_IMPORTS_H

#include <stdint.h>

#ifdef __wasm__
#define GYRE_IMPORT(name) __attribute__((import_module("gyre_1"), import_name(#name))) extern
#else
#define GYRE_IMPORT(name) extern
#endif

GYRE_IMPORT(batch_read) int32_t gyre_1_batch_read(int32_t offset, void *into, int32_t cap);
GYRE_IMPORT(event_begin) int32_t gyre_1_event_begin(int32_t index);
GYRE_IMPORT(event_result)
int32_t gyre_1_event_result(int32_t index, int32_t action, uint32_t delay_ms, const void *text, int32_t len);
GYRE_IMPORT(append)
int32_t gyre_1_append(const void *stream, int32_t stream_len, int64_t expected, const void *events,
                      int32_t len);
GYRE_IMPORT(state_get) int32_t gyre_1_state_get(const void *key, int32_t key_len, void *into, int32_t cap);
GYRE_IMPORT(state_put)
int32_t gyre_1_state_put(const void *key, int32_t key_len, const void *value, int32_t len);
GYRE_IMPORT(state_del) int32_t gyre_1_state_del(const void *key, int32_t key_len);
GYRE_IMPORT(state_scan)
int32_t gyre_1_state_scan(const void *prefix, int32_t prefix_len, const void *after, int32_t after_len,
                          int32_t limit, void *into, int32_t cap);
GYRE_IMPORT(stream_read)
int32_t gyre_1_stream_read(const void *stream, int32_t stream_len, int64_t from, int32_t limit, void *into,
                           int32_t cap);
GYRE_IMPORT(config_get)
int32_t gyre_1_config_get(const void *name, int32_t name_len, void *into, int32_t cap);
GYRE_IMPORT(secret_get)
int32_t gyre_1_secret_get(const void *name, int32_t name_len, void *into, int32_t cap);
GYRE_IMPORT(http) int32_t gyre_1_http(const void *request, int32_t request_len, void *into, int32_t cap);
GYRE_IMPORT(log) void gyre_1_log(int32_t level, const void *text, int32_t len);
GYRE_IMPORT(metric) int32_t gyre_1_metric(int32_t kind, const void *name, int32_t name_len, double value);
GYRE_IMPORT(now_us) int64_t gyre_1_now_us(void);
GYRE_IMPORT(random) void gyre_1_random(void *into, int32_t len);
GYRE_IMPORT(fail) _Noreturn void gyre_1_fail(int32_t code, const void *text, int32_t len);

#endif
