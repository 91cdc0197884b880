/* deep: overflows the stack that C keeps in linear memory, with arrays, in fewer calls than the host's stack holds. */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(#name)))

static u8 heap[1 << 16] __attribute__((aligned(4096)));
static u32 top;
static const char description[] =
    "{\"name\":\"deep\",\"abi\":1,\"inputs\":{\"in\":\"any\"},\"outputs\":{\"out\":\"any\"},\"params\":{}}";

EXPORT(ps_abi) int ps_abi(void) { return 1; }
EXPORT(ps_describe) u64 ps_describe(void) { return (u64)(u32)description << 32 | (sizeof description - 1); }
EXPORT(ps_error) u64 ps_error(void) { return 0; }
EXPORT(ps_free) void ps_free(u32 pointer, u32 size, u32 align) { (void)pointer, (void)size, (void)align; }
EXPORT(ps_close) void ps_close(u32 handle) { (void)handle; }
EXPORT(ps_open) int ps_open(const char *params, u32 size) { return (void)params, (void)size, 1; }
EXPORT(ps_flush) int ps_flush(u32 handle) { return (void)handle, 0; }

EXPORT(ps_alloc) u32 ps_alloc(u32 size, u32 align) {
  u32 start = (top + align - 1) & ~(align - 1);
  if (size > sizeof heap || start > sizeof heap - size) return 0;
  top = start + size;
  return (u32)heap + start;
}

static __attribute__((noinline)) int recurse(u32 depth) {
  volatile u8 array[1024];
  array[depth % sizeof array] = (u8)depth;
  return depth == 100000 ? 1 : recurse(depth + 1) + array[depth % sizeof array];
}

EXPORT(ps_process) int ps_process(u32 handle, u32 frame) { return (void)handle, (void)frame, recurse(0); }
