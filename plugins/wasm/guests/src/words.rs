//! words.wasm: counts the words of every event's data, and keeps the ten most frequent in
//! state, as text. It uses strings, a map, sorting and formatting of the standard library.

use std::collections::HashMap;
use std::fmt::Write;

#[link(wasm_import_module = "gyre_1")]
extern "C" {
    fn batch_read(offset: i32, into: *mut u8, capacity: i32) -> i32;
    fn event_begin(index: i32) -> i32;
    fn state_put(key: *const u8, key_len: i32, value: *const u8, value_len: i32) -> i32;
    fn log(level: i32, text: *const u8, len: i32);
}

fn number(bytes: &[u8], at: usize, size: usize) -> usize {
    bytes[at..at + size].iter().rev().fold(0, |n, b| n << 8 | *b as usize)
}

#[no_mangle]
pub extern "C" fn gyre_handle(length: i32, count: i32, _attempt: i32) -> i32 {
    let mut batch = vec![0; length as usize];
    unsafe { batch_read(0, batch.as_mut_ptr(), length) };
    let mut words: HashMap<String, u32> = HashMap::new();
    let mut at = number(&batch, 6, 2);
    for i in 0..count {
        unsafe { event_begin(i) };
        let entry = &batch[at..];
        let data = number(entry, 4, 2) + number(entry, 48, 2) + number(entry, 50, 2);
        let text = String::from_utf8_lossy(&entry[data..data + number(entry, 52, 4)]);
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
            match words.get_mut(word) {
                Some(n) => *n += 1,
                None => {
                    words.insert(word.to_owned(), 1);
                }
            }
        }
        at += number(entry, 0, 4);
    }
    let mut most: Vec<_> = words.into_iter().collect();
    most.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut text = String::new();
    for (word, n) in most.iter().take(10) {
        writeln!(text, "{word} {n}").unwrap();
    }
    let seen = format!("{count} events, {} words", most.len());
    unsafe {
        log(1, seen.as_ptr(), seen.len() as i32);
        if count > 0 {
            state_put(b"words".as_ptr(), 5, text.as_ptr(), text.len() as i32);
        }
    }
    0
}
