// The functions that the host gives to a module: ABI gyre_1. A module imports those that it uses.

@external("gyre_1", "batch_read")
export declare function batch_read(offset: i32, into: usize, cap: i32): i32;

@external("gyre_1", "event_begin")
export declare function event_begin(index: i32): i32;

@external("gyre_1", "event_result")
export declare function event_result(index: i32, action: i32, delayMs: u32, text: usize, length: i32): i32;

@external("gyre_1", "append")
export declare function append(stream: usize, streamLength: i32, expected: i64, events: usize, length: i32): i32;

@external("gyre_1", "state_get")
export declare function state_get(key: usize, keyLength: i32, into: usize, cap: i32): i32;

@external("gyre_1", "state_put")
export declare function state_put(key: usize, keyLength: i32, value: usize, length: i32): i32;

@external("gyre_1", "state_del")
export declare function state_del(key: usize, keyLength: i32): i32;

@external("gyre_1", "state_scan")
export declare function state_scan(
  prefix: usize, prefixLength: i32, after: usize, afterLength: i32, limit: i32, into: usize, cap: i32,
): i32;

@external("gyre_1", "stream_read")
export declare function stream_read(
  stream: usize, streamLength: i32, from: i64, limit: i32, into: usize, cap: i32,
): i32;

@external("gyre_1", "config_get")
export declare function config_get(name: usize, nameLength: i32, into: usize, cap: i32): i32;

@external("gyre_1", "secret_get")
export declare function secret_get(name: usize, nameLength: i32, into: usize, cap: i32): i32;

@external("gyre_1", "http")
export declare function http(request: usize, requestLength: i32, into: usize, cap: i32): i32;

@external("gyre_1", "log")
export declare function log(level: i32, text: usize, length: i32): void;

@external("gyre_1", "metric")
export declare function metric(kind: i32, name: usize, nameLength: i32, value: f64): i32;

@external("gyre_1", "now_us")
export declare function now_us(): i64;

@external("gyre_1", "random")
export declare function random(into: usize, length: i32): void;

@external("gyre_1", "fail")
export declare function fail(code: i32, text: usize, length: i32): void;
