// read.wasm: reads the batch, and does nothing with it.
#include "gyre.h"

static uint8_t batch[1 << 20];

EXPORT(gyre_handle) int32_t handle(int32_t length, int32_t count, int32_t attempt) {
  return batch_read(0, batch, sizeof batch) == length ? 0 : -1;
}
