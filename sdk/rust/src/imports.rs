//! The functions that the host gives to a module. In a sandbox they are imports, of which a module has those
//! that it uses; natively the host of `testing` has them.

#[cfg(target_arch = "wasm32")]
mod side {
    mod gyre {
        #[link(wasm_import_module = "gyre_1")]
        extern "C" {
            pub fn batch_read(offset: i32, into: *mut u8, cap: i32) -> i32;
            pub fn event_begin(index: i32) -> i32;
            pub fn event_result(index: i32, action: i32, delay_ms: u32, text: *const u8, len: i32) -> i32;
            pub fn append(
                stream: *const u8,
                stream_len: i32,
                expected: i64,
                events: *const u8,
                len: i32,
            ) -> i32;
            pub fn state_get(key: *const u8, key_len: i32, into: *mut u8, cap: i32) -> i32;
            pub fn state_put(key: *const u8, key_len: i32, value: *const u8, len: i32) -> i32;
            pub fn state_del(key: *const u8, key_len: i32) -> i32;
            pub fn state_scan(
                prefix: *const u8,
                prefix_len: i32,
                after: *const u8,
                after_len: i32,
                limit: i32,
                into: *mut u8,
                cap: i32,
            ) -> i32;
            pub fn stream_read(
                stream: *const u8,
                stream_len: i32,
                from: i64,
                limit: i32,
                into: *mut u8,
                cap: i32,
            ) -> i32;
            pub fn config_get(name: *const u8, name_len: i32, into: *mut u8, cap: i32) -> i32;
            pub fn secret_get(name: *const u8, name_len: i32, into: *mut u8, cap: i32) -> i32;
            pub fn http(request: *const u8, request_len: i32, into: *mut u8, cap: i32) -> i32;
            pub fn log(level: i32, text: *const u8, len: i32);
            pub fn metric(kind: i32, name: *const u8, name_len: i32, value: f64) -> i32;
            pub fn now_us() -> i64;
            pub fn random(into: *mut u8, len: i32);
            pub fn fail(code: i32, text: *const u8, len: i32) -> !;
        }
    }

    // Safety of all: the host reads and writes only what a slice has, and only during the call.

    pub(crate) fn batch_read(into: &mut [u8]) -> i32 {
        unsafe { gyre::batch_read(0, into.as_mut_ptr(), into.len() as i32) }
    }

    pub(crate) fn event_begin(index: usize) {
        unsafe { gyre::event_begin(index as i32) };
    }

    pub(crate) fn event_result(index: usize, action: i32, delay_ms: u32, text: &[u8]) {
        unsafe { gyre::event_result(index as i32, action, delay_ms, text.as_ptr(), text.len() as i32) };
    }

    pub(crate) fn append(stream: &str, expected: i64, events: &[u8]) -> i32 {
        unsafe {
            gyre::append(stream.as_ptr(), stream.len() as i32, expected, events.as_ptr(), events.len() as i32)
        }
    }

    pub(crate) fn state_get(key: &str, into: &mut [u8]) -> i32 {
        unsafe { gyre::state_get(key.as_ptr(), key.len() as i32, into.as_mut_ptr(), into.len() as i32) }
    }

    pub(crate) fn state_put(key: &str, value: &[u8]) -> i32 {
        unsafe { gyre::state_put(key.as_ptr(), key.len() as i32, value.as_ptr(), value.len() as i32) }
    }

    pub(crate) fn state_del(key: &str) -> i32 {
        unsafe { gyre::state_del(key.as_ptr(), key.len() as i32) }
    }

    pub(crate) fn state_scan(prefix: &str, after: &str, limit: i32, into: &mut [u8]) -> i32 {
        let (prefix_len, after_len, cap) = (prefix.len() as i32, after.len() as i32, into.len() as i32);
        unsafe {
            gyre::state_scan(
                prefix.as_ptr(),
                prefix_len,
                after.as_ptr(),
                after_len,
                limit,
                into.as_mut_ptr(),
                cap,
            )
        }
    }

    pub(crate) fn stream_read(stream: &str, from: u64, limit: usize, into: &mut [u8]) -> i32 {
        let (len, cap) = (stream.len() as i32, into.len() as i32);
        unsafe { gyre::stream_read(stream.as_ptr(), len, from as i64, limit as i32, into.as_mut_ptr(), cap) }
    }

    pub(crate) fn config_get(name: &str, into: &mut [u8]) -> i32 {
        unsafe { gyre::config_get(name.as_ptr(), name.len() as i32, into.as_mut_ptr(), into.len() as i32) }
    }

    pub(crate) fn secret_get(name: &str, into: &mut [u8]) -> i32 {
        unsafe { gyre::secret_get(name.as_ptr(), name.len() as i32, into.as_mut_ptr(), into.len() as i32) }
    }

    pub(crate) fn http(request: &[u8], into: &mut [u8]) -> i32 {
        unsafe { gyre::http(request.as_ptr(), request.len() as i32, into.as_mut_ptr(), into.len() as i32) }
    }

    pub(crate) fn log(level: i32, text: &str) {
        unsafe { gyre::log(level, text.as_ptr(), text.len() as i32) }
    }

    pub(crate) fn metric(kind: i32, name: &str, value: f64) -> i32 {
        unsafe { gyre::metric(kind, name.as_ptr(), name.len() as i32, value) }
    }

    pub(crate) fn now_us() -> i64 {
        unsafe { gyre::now_us() }
    }

    pub(crate) fn random(into: &mut [u8]) {
        unsafe { gyre::random(into.as_mut_ptr(), into.len() as i32) }
    }

    pub(crate) fn fail(code: i32, text: &str) -> ! {
        unsafe { gyre::fail(code, text.as_ptr(), text.len() as i32) }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod side {
    use crate::abi::Error;
    use crate::testing::host::with;

    /// Copies an answer if there is room for it, and returns its length.
    fn give(answer: Result<Vec<u8>, Error>, into: &mut [u8]) -> i32 {
        match answer {
            Err(error) => error.errno(),
            Ok(value) => {
                if let Some(room) = into.get_mut(..value.len()) {
                    room.copy_from_slice(&value);
                }
                value.len() as i32
            }
        }
    }

    fn done(answer: Result<(), Error>) -> i32 {
        answer.map_or_else(Error::errno, |()| 0)
    }

    pub(crate) fn batch_read(into: &mut [u8]) -> i32 {
        with(|h| give(Ok(h.encoded.clone()), into))
    }

    pub(crate) fn event_begin(index: usize) {
        with(|h| h.begin(index));
    }

    pub(crate) fn event_result(index: usize, action: i32, delay_ms: u32, text: &[u8]) {
        with(|h| h.result(index, action, delay_ms, text));
    }

    pub(crate) fn append(stream: &str, expected: i64, events: &[u8]) -> i32 {
        with(|h| done(h.append(stream, expected, events)))
    }

    pub(crate) fn state_get(key: &str, into: &mut [u8]) -> i32 {
        with(|h| give(h.get(key), into))
    }

    pub(crate) fn state_put(key: &str, value: &[u8]) -> i32 {
        with(|h| done(h.write(key, Some(value))))
    }

    pub(crate) fn state_del(key: &str) -> i32 {
        with(|h| done(h.write(key, None)))
    }

    pub(crate) fn state_scan(prefix: &str, after: &str, limit: i32, into: &mut [u8]) -> i32 {
        with(|h| give(Ok(h.scan(prefix, after, limit, into.len())), into))
    }

    pub(crate) fn stream_read(stream: &str, from: u64, limit: usize, into: &mut [u8]) -> i32 {
        with(|h| give(h.read_stream(stream, from, limit), into))
    }

    pub(crate) fn config_get(name: &str, into: &mut [u8]) -> i32 {
        with(|h| give(h.config_of(name), into))
    }

    pub(crate) fn secret_get(name: &str, into: &mut [u8]) -> i32 {
        with(|h| give(h.secrets.get(name).map(|s| s.clone().into_bytes()).ok_or(Error::NotFound), into))
    }

    pub(crate) fn http(request: &[u8], into: &mut [u8]) -> i32 {
        let answer = with(|h| h.http.clone());
        give(answer.map_or(Err(Error::Unsupported), |answer| answer(request)), into)
    }

    pub(crate) fn log(level: i32, text: &str) {
        with(|h| h.log(level, text));
    }

    pub(crate) fn metric(kind: i32, name: &str, value: f64) -> i32 {
        with(|h| done(h.metric(kind, name, value)))
    }

    pub(crate) fn now_us() -> i64 {
        with(|h| h.now())
    }

    pub(crate) fn random(into: &mut [u8]) {
        with(|h| h.random(into));
    }

    pub(crate) fn fail(code: i32, text: &str) -> ! {
        panic!("failed with code {code}: {text}")
    }
}

pub(crate) use side::*;
