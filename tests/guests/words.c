/* words: takes text, gives each word as a text of its own (0..n outputs), and their number as JSON at the flush.
 * `{"shout": true}` turns them to capitals. It answers from buffers of its own, logs, and sets a time and meta. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("ps"), import_name(#name)))

IMPORT(log) void ps_log(u32 level, const char *text, u32 length);
IMPORT(now_ns) u64 ps_now_ns(void);

enum { TEXT = 2, JSON = 4 };

typedef struct {
  u32 magic;
  u8 kind, dtype, ndim, flags;
  u64 pts_ns;
  u32 sample_rate;
  u16 channels, reserved;
  u32 shape[4], data_ptr, data_len, meta_ptr, meta_len;
  u64 seq;
} Frame;

static u8 heap[1 << 20] __attribute__((aligned(4096)));
static u32 top, count, flushing;
static int shout;
static char words[4096], number[16];
static u32 length, at;
static Frame out;
static const char meta[] = "{\"word\":true}";
static const char description[] =
    "{\"name\":\"words\",\"abi\":1,\"inputs\":{\"in\":\"text\"},\"outputs\":{\"out\":\"text|json\"},"
    "\"params\":{\"shout\":{\"type\":\"boolean\",\"default\":false}}}";

EXPORT(ps_abi) int ps_abi(void) { return 1; }
EXPORT(ps_describe) u64 ps_describe(void) { return (u64)(u32)description << 32 | (sizeof description - 1); }
EXPORT(ps_error) u64 ps_error(void) { return (u64)(u32) "too long" << 32 | 8; }
EXPORT(ps_free) void ps_free(u32 pointer, u32 size, u32 align) { (void)pointer, (void)size, (void)align; }
EXPORT(ps_close) void ps_close(u32 handle) { (void)handle; }

EXPORT(ps_alloc) u32 ps_alloc(u32 size, u32 align) {
  u32 start = (top + align - 1) & ~(align - 1);
  if (size > sizeof heap || start > sizeof heap - size) return 0;
  top = start + size;
  return (u32)heap + start;
}

EXPORT(ps_open) int ps_open(const char *params, u32 size) {
  for (u32 i = 0; i + 4 <= size; i++) shout |= params[i] == 't' && params[i + 1] == 'r';
  return 7;
}

static int is_space(char c) { return c == ' ' || c == '\n' || c == '\t'; }

static u32 put(u8 kind, const char *text, u32 size) {
  out = (Frame){.magic = 0x31465350, .kind = kind, .ndim = 1, .shape = {size}, .data_ptr = (u32)text, .data_len = size};
  return (u32)&out;
}

EXPORT(ps_next) u32 ps_next(u32 handle) {
  (void)handle;
  if (flushing) {
    u32 digits = 0, rest = count;
    do digits++, rest /= 10; while (rest);
    rest = count;
    for (u32 i = digits; i--; rest /= 10) number[i] = (char)('0' + rest % 10);
    put(JSON, number, digits);
    out.pts_ns = ps_now_ns();
    return (u32)&out;
  }
  while (at < length && is_space(words[at])) at++;
  u32 start = at;
  while (at < length && !is_space(words[at])) at++;
  return at > start ? put(TEXT, words + start, at - start) : 0;
}

EXPORT(ps_process) int ps_process(u32 handle, Frame *frame) {
  (void)handle;
  if (frame->data_len > sizeof words) return -7;
  int found = 0;
  length = frame->data_len;
  for (at = 0; at < length; at++) {
    char c = ((const char *)frame->data_ptr)[at];
    words[at] = shout && c >= 'a' && c <= 'z' ? c - 32 : c;
    if (!is_space(c) && (!at || is_space(words[at - 1]))) found++;
  }
  at = 0;
  count += (u32)found;
  ps_log(1, "counted", 7);
  if (!found) return 0;
  Frame *first = (Frame *)ps_next(handle); /* the first output takes the place of the input's frame */
  frame->data_ptr = first->data_ptr;
  frame->data_len = first->data_len;
  frame->shape[0] = first->data_len;
  frame->meta_ptr = (u32)meta;
  frame->meta_len = sizeof meta - 1;
  return found;
}

EXPORT(ps_flush) int ps_flush(u32 handle) {
  (void)handle;
  flushing = 1;
  return 1;
}
