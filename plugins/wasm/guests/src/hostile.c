// hostile.wasm: does what a guest should not. The attempt of the batch says what.
#include "gyre.h"

static uint8_t large[32 << 20];
static volatile uint32_t sink;

static uint32_t recurse(uint32_t n) {
  volatile uint32_t here[8];
  here[n % 8] = n;
  return recurse(n + 1) + here[(n + sink) % 8];
}

// tree calls itself 2^depth times, without a loop.
static uint32_t tree(uint32_t depth) { return depth ? tree(depth - 1) + tree(depth - 1) + sink : 1; }

static int32_t grow(void) {
  while (__builtin_wasm_memory_grow(0, 1) != (unsigned long)-1) sink++;
  return (int32_t)__builtin_wasm_memory_size(0);
}

EXPORT(gyre_handle) int32_t handle(int32_t length, int32_t count, int32_t attempt) {
  switch (attempt) {
  case 1: // loop
    for (;;) sink++;
  case 2: // write memory for ever
    for (;;) __builtin_memset(large, (int)sink++, sizeof large);
  case 3: // recurse for ever
    return (int32_t)recurse(0);
  case 4: // call for ever, at a depth of 60
    return (int32_t)tree(60);
  case 5: // take all memory
    return grow();
  case 6: // log for ever
    for (;;) gyre_log(1, large, 4096);
  case 7: // read outside of the memory
    gyre_log(1, (void *)0xfffffff0, 4096);
    return 0;
  }
  return 0;
}
