// gyre_json.c reads and writes JSON. What is read is trusted to be JSON, as the data of events is; of any
// other bytes it makes something, but reads none that are not there.
#include "gyre.h"

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static size_t skip_space(gyre_str s, size_t at) {
  while (at < s.len && is_space(s.at[at])) at++;
  return at;
}

// skip_string returns the place behind a string that begins at a quote.
static size_t skip_string(gyre_str s, size_t at) {
  for (at++; at < s.len; at++) {
    if (s.at[at] == '\\') {
      at++;
    } else if (s.at[at] == '"') {
      return at + 1;
    }
  }
  return s.len;
}

// skip_value returns the place behind a value.
static size_t skip_value(gyre_str s, size_t at) {
  size_t depth = 0;
  while (at < s.len) {
    char c = s.at[at];
    if (c == '"') {
      at = skip_string(s, at);
    } else if (c == '{' || c == '[') {
      depth++;
      at++;
    } else if (depth == 0 && (c == '}' || c == ']' || c == ',')) {
      return at;
    } else if (c == '}' || c == ']') {
      depth--;
      at++;
    } else if (depth > 0) {
      at++;
      continue;
    } else {
      while (at < s.len && !is_space(s.at[at]) && s.at[at] != ',' && s.at[at] != '}' && s.at[at] != ']') at++;
      return at;
    }
    if (depth == 0) return at;
  }
  return s.len;
}

static gyre_str value_at(gyre_str s, size_t *at) {
  size_t begin = skip_space(s, *at);
  *at = skip_value(s, begin);
  return (gyre_str){s.at + begin, *at - begin};
}

bool gyre_json_next(gyre_str json, size_t *at, gyre_str *name, gyre_str *value) {
  size_t begin = skip_space(json, 0);
  if (begin >= json.len || (json.at[begin] != '{' && json.at[begin] != '[')) return false;
  bool is_object = json.at[begin] == '{';
  *at = skip_space(json, *at == 0 ? begin + 1 : *at);
  if (*at < json.len && json.at[*at] == ',') *at = skip_space(json, *at + 1);
  *name = (gyre_str){0, 0};
  if (is_object) {
    if (*at >= json.len || json.at[*at] != '"') return false;
    *name = value_at(json, at);
    *at = skip_space(json, *at);
    if (*at >= json.len || json.at[*at] != ':') return false;
    (*at)++;
  }
  *value = value_at(json, at);
  return value->len > 0;
}

// is_name reports whether a quoted name stands for a name.
static bool is_name(gyre_str quoted, gyre_str name) {
  if (gyre_equal((gyre_str){quoted.at + 1, quoted.len - 2}, name)) return true;
  if (quoted.len <= name.len + 2) return false;  // an escape is longer than what it stands for
  for (size_t i = 0; i < quoted.len; i++) {
    gyre_str decoded;
    if (quoted.at[i] == '\\') return gyre_json_text(quoted, &decoded) && gyre_equal(decoded, name);
  }
  return false;
}

gyre_str gyre_json_get(gyre_str object, gyre_str name) {
  gyre_str key, value;
  size_t begin = skip_space(object, 0);
  if (begin >= object.len || object.at[begin] != '{') return (gyre_str){0, 0};
  for (size_t at = 0; gyre_json_next(object, &at, &key, &value);) {
    if (is_name(key, name)) return value;
  }
  return (gyre_str){0, 0};
}

bool gyre_json_int(gyre_str json, int64_t *n) {
  size_t at = skip_space(json, 0), digits = 0;
  bool negative = at < json.len && json.at[at] == '-';
  uint64_t sum = 0, most = negative ? (uint64_t)1 << 63 : INT64_MAX;
  for (at += negative; at < json.len && json.at[at] >= '0' && json.at[at] <= '9'; at++, digits++) {
    uint64_t digit = (uint64_t)(json.at[at] - '0');
    if (sum > (most - digit) / 10) return false;
    sum = sum * 10 + digit;
  }
  if (digits > 0 && at + 1 < json.len && json.at[at] == '.') {  // as in 1.0
    for (at++; at < json.len && json.at[at] == '0'; at++) {
    }
  }
  if (digits == 0 || skip_space(json, at) != json.len) return false;
  *n = (int64_t)(negative ? 0 - sum : sum);
  return true;
}

bool gyre_json_bool(gyre_str json, bool *b) {
  *b = gyre_equal(json, GYRE_STR("true"));
  return *b || gyre_equal(json, GYRE_STR("false"));
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// hex4 reads four hexadecimal digits, or returns -1.
static int32_t hex4(const char *at, const char *end) {
  int32_t n = 0;
  for (int i = 0; i < 4; i++) {
    int digit = end - at > i ? hex_digit(at[i]) : -1;
    if (digit < 0) return -1;
    n = n << 4 | digit;
  }
  return n;
}

static char *put_utf8(char *into, uint32_t rune) {
  if (rune < 0x80) {
    *into++ = (char)rune;
    return into;
  }
  if (rune < 0x800) {
    *into++ = (char)(0xc0 | rune >> 6);
  } else {
    if (rune < 0x10000) {
      *into++ = (char)(0xe0 | rune >> 12);
    } else {
      *into++ = (char)(0xf0 | rune >> 18);
      *into++ = (char)(0x80 | (rune >> 12 & 0x3f));
    }
    *into++ = (char)(0x80 | (rune >> 6 & 0x3f));
  }
  *into++ = (char)(0x80 | (rune & 0x3f));
  return into;
}

// unicode reads what follows \u, with the second half of a pair. Half a pair is U+FFFD.
static uint32_t unicode(const char **at, const char *end) {
  int32_t first = hex4(*at, end);
  if (first < 0) return 0xfffd;
  *at += 4;
  if (first < 0xd800 || first > 0xdfff) return (uint32_t)first;
  if (first < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
    int32_t second = hex4(*at + 2, end);
    if (second >= 0xdc00 && second <= 0xdfff) {
      *at += 6;
      return 0x10000 + (((uint32_t)first - 0xd800) << 10) + ((uint32_t)second - 0xdc00);
    }
  }
  return 0xfffd;
}

bool gyre_json_text(gyre_str json, gyre_str *text) {
  if (json.len < 2 || json.at[0] != '"' || json.at[json.len - 1] != '"') return false;
  const char *at = json.at + 1, *end = json.at + json.len - 1;
  // An escape is not shorter than what it stands for, but for \u without digits: U+FFFD has 3 bytes.
  char *into = gyre_alloc(json.len + json.len / 2);
  *text = (gyre_str){into, 0};
  while (at < end) {
    if (*at != '\\' || at + 1 == end) {
      *into++ = *at++;
      continue;
    }
    char c = at[1];
    at += 2;
    switch (c) {
      case 'b':
        *into++ = '\b';
        break;
      case 'f':
        *into++ = '\f';
        break;
      case 'n':
        *into++ = '\n';
        break;
      case 'r':
        *into++ = '\r';
        break;
      case 't':
        *into++ = '\t';
        break;
      case 'u':
        into = put_utf8(into, unicode(&at, end));
        break;
      default:
        *into++ = c;
    }
  }
  text->len = (size_t)(into - text->at);
  return true;
}

static void write_char(gyre_buffer *b, char c) { gyre_write(b, (gyre_str){&c, 1}); }

void gyre_write_quoted(gyre_buffer *b, gyre_str text) {
  static const char hex[] = "0123456789abcdef";
  write_char(b, '"');
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.at[i];
    if (c == '"' || c == '\\') {
      write_char(b, '\\');
      write_char(b, (char)c);
    } else if (c < 0x20) {
      const char escape[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
      gyre_write(b, (gyre_str){escape, sizeof escape});
    } else {
      write_char(b, (char)c);
    }
  }
  write_char(b, '"');
}

static void put_name(gyre_buffer *b, const char *name) {
  if (b->len > 0 && b->at[b->len - 1] != '{') write_char(b, ',');
  gyre_write_quoted(b, gyre_str_of(name));
  write_char(b, ':');
}

void gyre_json_open(gyre_buffer *b) { write_char(b, '{'); }
void gyre_json_close(gyre_buffer *b) { write_char(b, '}'); }

void gyre_json_put_text(gyre_buffer *b, const char *name, gyre_str value) {
  put_name(b, name);
  gyre_write_quoted(b, value);
}

void gyre_json_put_int(gyre_buffer *b, const char *name, int64_t value) {
  put_name(b, name);
  gyre_write_int(b, value);
}

void gyre_json_put_bool(gyre_buffer *b, const char *name, bool value) {
  gyre_json_put(b, name, value ? GYRE_STR("true") : GYRE_STR("false"));
}

void gyre_json_put(gyre_buffer *b, const char *name, gyre_str json) {
  put_name(b, name);
  gyre_write(b, json);
}
