/* clean: a high-pass (Butterworth, 2nd order) and a gain, for interleaved float audio of any rate, in place.
 *
 * A penstock node of ABI 1 (docs/wasm.md), and a template for your own: everything up to "the node" is the same in each.
 * It has no libc and no imports. Build it with build.sh.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(#name)))
#define EINVAL 22
#define ENOMEM 12

/* Without a libc the compiler's own calls need these two. */
void *memset(void *to, int byte, unsigned long size) {
  for (u8 *at = to; size--;) *at++ = (u8)byte;
  return to;
}

void *memcpy(void *restrict to, const void *restrict from, unsigned long size) {
  u8 *at = to;
  for (const u8 *source = from; size--;) *at++ = *source++;
  return to;
}

/* ---- memory: upwards from the end of the statics; a freed top block is used again, which is how the host's areas grow */

extern u8 __heap_base;
static u32 top;

EXPORT(ps_alloc) u32 ps_alloc(u32 size, u32 align) {
  if (!top) top = (u32)&__heap_base;
  u64 start = ((u64)top + align - 1) & ~((u64)align - 1), end = start + size;
  u64 have = (u64)__builtin_wasm_memory_size(0) << 16;
  if (end > 0xffff0000u) return 0;
  if (end > have && __builtin_wasm_memory_grow(0, (u32)((end - have + 0xffff) >> 16)) == (unsigned long)-1) return 0;
  top = (u32)end;
  return (u32)start;
}

EXPORT(ps_free) void ps_free(u32 pointer, u32 size, u32 align) {
  (void)align;
  if (pointer + size == top) top = pointer;
}

/* ---- errors: one text, read by the host after a negative result */

static char error_text[256];
static u32 error_len;

static void say(const char *text) {
  while (*text && error_len < sizeof error_text) error_text[error_len++] = *text++;
}

static void say_number(double value) { /* six digits after the point are enough for a message */
  if (value < 0) say("-"), value = -value;
  if (!(value < 1e15)) { say("a huge number"); return; }
  u64 scaled = (u64)(value * 1e6 + 0.5), whole = scaled / 1000000, part = scaled % 1000000;
  char digits[24];
  int n = 0;
  do digits[n++] = (char)('0' + whole % 10), whole /= 10; while (whole);
  while (n) { char one[2] = {digits[--n], 0}; say(one); }
  if (!part) return;
  say(".");
  for (u64 unit = 100000; part; part %= unit, unit /= 10) { char one[2] = {(char)('0' + part / unit), 0}; say(one); }
}

static int fail(int number, const char *text) {
  error_len = 0;
  say(text);
  return -number;
}

EXPORT(ps_error) u64 ps_error(void) { return (u64)(u32)error_text << 32 | error_len; }

/* ---- JSON: an object of numbers, which is all that parameters are here */

typedef struct { const char *at, *end; } Json;

static int next_is(Json *json, char expected) {
  while (json->at < json->end && (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r')) json->at++;
  if (json->at < json->end && *json->at == expected) { json->at++; return 1; }
  return 0;
}

static int is_digit(const Json *json) { return json->at < json->end && *json->at >= '0' && *json->at <= '9'; }

static int read_number(Json *json, double *value) {
  double sign = next_is(json, '-') ? -1 : 1, result = 0, scale = 1;
  int exponent = 0, direction = 1;
  if (!is_digit(json)) return 0;
  while (is_digit(json)) result = result * 10 + (*json->at++ - '0');
  if (json->at < json->end && *json->at == '.')
    for (json->at++; is_digit(json); scale *= 10) result = result * 10 + (*json->at++ - '0');
  if (json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
    json->at++;
    if (json->at < json->end && (*json->at == '-' || *json->at == '+')) direction = *json->at++ == '-' ? -1 : 1;
    while (is_digit(json)) exponent = exponent < 1000 ? exponent * 10 + (*json->at++ - '0') : (json->at++, exponent);
  }
  result /= scale;
  for (; exponent > 0 && result != 0 && result < 1e300; exponent--) result = direction > 0 ? result * 10 : result / 10;
  *value = sign * result;
  return 1;
}

static int read_name(Json *json, const char **name, u32 *length) {
  if (!next_is(json, '"')) return 0;
  *name = json->at;
  while (json->at < json->end && *json->at != '"') json->at++;
  *length = (u32)(json->at - *name);
  return json->at++ < json->end;
}

static int same(const char *name, u32 length, const char *expected) {
  while (length && *expected && *name == *expected) name++, expected++, length--;
  return !length && !*expected;
}

/* ---- the frame */

enum { AUDIO = 1, F32 = 4, IN_PLACE = 4 };

typedef struct {
  u32 magic;
  u8 kind, dtype, ndim, flags;
  u64 pts_ns;
  u32 sample_rate;
  u16 channels, reserved;
  u32 shape[4], data_ptr, data_len, meta_ptr, meta_len;
  u64 seq;
} Frame;

_Static_assert(sizeof(Frame) == 64, "the frame is 64 bytes");

/* ---- the node */

#define CHANNELS 32
#define PI 3.14159265358979323846

static const char description[] =
    "{\"name\":\"clean\",\"abi\":1,\"inputs\":{\"in\":\"audio\"},\"outputs\":{\"out\":\"audio\"},\"in_place\":true,"
    "\"params\":{\"cutoff_hz\":{\"type\":\"number\",\"default\":80,\"doc\":\"high-pass corner; above 0, below half the rate\"},"
    "\"gain_db\":{\"type\":\"number\",\"default\":0,\"doc\":\"gain, -120 to 60\"}}}";

typedef struct { double x1, x2, y1, y2; } State;

typedef struct {
  double cutoff_hz, gain_db;
  u32 sample_rate, channels;
  double b0, b1, b2, a1, a2;
  State state[CHANNELS];
} Clean;

EXPORT(ps_abi) int ps_abi(void) { return 1; }

EXPORT(ps_describe) u64 ps_describe(void) { return (u64)(u32)description << 32 | (sizeof description - 1); }

static double sine(double x) { /* Taylor; x in [0, pi/2] */
  double term = x, sum = x;
  for (int n = 2; n < 28; n += 2) sum += term *= -x * x / (n * (n + 1));
  return sum;
}

static double power_of_e(double x) {
  double half = x / 64, term = 1, sum = 1; /* |half| < 0.3 for the gains allowed */
  for (int n = 1; n < 18; n++) sum += term *= half / n;
  for (int n = 0; n < 6; n++) sum *= sum;
  return sum;
}

/* The bilinear transform of s^2 / (s^2 + sqrt(2) s + 1) at the corner; the gain is part of the zeros. */
static void design(Clean *clean, u32 sample_rate, u32 channels) {
  double angle = PI * clean->cutoff_hz / sample_rate, k = sine(angle) / sine(PI / 2 - angle), root = 1.41421356237309504880;
  double norm = 1 / (1 + root * k + k * k), gain = power_of_e(clean->gain_db * (2.30258509299404568402 / 20));
  clean->b0 = clean->b2 = norm * gain;
  clean->b1 = -2 * norm * gain;
  clean->a1 = 2 * (k * k - 1) * norm;
  clean->a2 = (1 - root * k + k * k) * norm;
  clean->sample_rate = sample_rate;
  clean->channels = channels;
  memset(clean->state, 0, sizeof clean->state);
}

static double settled(double value) { return value > -1e-30 && value < 1e-30 ? 0 : value; } /* no denormals in silence */

/* Two samples a turn, the second without waiting for the first: y[n+1] is written out in y[n-1] and y[n-2]. */
static void filter(const Clean *clean, State *state, float *samples, u32 frames, u32 stride) {
  double b0 = clean->b0, b1 = clean->b1, b2 = clean->b2, a1 = clean->a1, a2 = clean->a2;
  double c1 = a1 * a1 - a2, c2 = a1 * a2;
  double x1 = state->x1, x2 = state->x2, y1 = state->y1, y2 = state->y2;
  float *at = samples, *end = samples + (u64)(frames & ~1u) * stride;
  for (; at < end; at += 2 * stride) {
    double first = at[0], second = at[stride];
    double f = b0 * first + b1 * x1 + b2 * x2, g = b0 * second + b1 * first + b2 * x1 - a1 * f;
    double y = (f - a2 * y2) - a1 * y1, z = (g + c2 * y2) + c1 * y1;
    at[0] = (float)y;
    at[stride] = (float)z;
    x2 = first, x1 = second, y2 = y, y1 = z;
  }
  if (frames & 1) {
    double x = *at, y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2;
    *at = (float)y;
    x2 = x1, x1 = x, y2 = y1, y1 = y;
  }
  *state = (State){settled(x1), settled(x2), settled(y1), settled(y2)};
}

static int wrong_frame(const Frame *frame) {
  if (frame->kind != AUDIO) return fail(EINVAL, "clean takes audio");
  if (frame->dtype != F32) return fail(EINVAL, "clean takes audio of 32-bit floats: convert the samples first");
  if (frame->channels < 1 || frame->channels > CHANNELS) return fail(EINVAL, "clean takes 1 to 32 channels");
  return 0;
}

static int wrong_rate(const Clean *clean, u32 sample_rate) {
  if (clean->cutoff_hz < sample_rate / 2.0) return 0;
  fail(EINVAL, "cutoff_hz ");
  say_number(clean->cutoff_hz);
  say(" is not below half the sample rate ");
  say_number(sample_rate);
  return -EINVAL;
}

static int read_params(Clean *clean, Json json) {
  if (!next_is(&json, '{')) return fail(EINVAL, "parameters are a JSON object");
  if (next_is(&json, '}')) return 0;
  do {
    const char *name;
    u32 length;
    if (!read_name(&json, &name, &length) || !next_is(&json, ':')) return fail(EINVAL, "parameters are a JSON object");
    double *value = same(name, length, "cutoff_hz") ? &clean->cutoff_hz : same(name, length, "gain_db") ? &clean->gain_db : 0;
    if (!value) return fail(EINVAL, "unknown parameter: clean has cutoff_hz and gain_db");
    if (!read_number(&json, value)) return fail(EINVAL, "cutoff_hz and gain_db are numbers");
  } while (next_is(&json, ','));
  return next_is(&json, '}') ? 0 : fail(EINVAL, "parameters are a JSON object");
}

EXPORT(ps_open) int ps_open(const char *params, u32 length) {
  Clean *clean = (Clean *)ps_alloc(sizeof(Clean), 8);
  if (!clean) return fail(ENOMEM, "no memory for the filter");
  memset(clean, 0, sizeof *clean);
  clean->cutoff_hz = 80;
  int error = read_params(clean, (Json){params, params + length});
  if (!error && !(clean->cutoff_hz > 0 && clean->cutoff_hz < 1e9)) error = fail(EINVAL, "cutoff_hz is above 0");
  if (!error && !(clean->gain_db >= -120 && clean->gain_db <= 60)) error = fail(EINVAL, "gain_db is from -120 to 60");
  if (error) ps_free((u32)clean, sizeof(Clean), 8);
  return error ? error : (int)clean;
}

EXPORT(ps_process) int ps_process(Clean *clean, Frame *frame) {
  int error = wrong_frame(frame);
  if (!error) error = wrong_rate(clean, frame->sample_rate);
  if (error) return error;
  if (frame->sample_rate != clean->sample_rate || frame->channels != clean->channels)
    design(clean, frame->sample_rate, frame->channels);
  float *samples = (float *)frame->data_ptr;
  u32 frames = frame->data_len / 4 / frame->channels;
  for (u32 channel = 0; channel < frame->channels; channel++)
    filter(clean, &clean->state[channel], samples + channel, frames, frame->channels);
  frame->flags |= IN_PLACE;
  return 1;
}

EXPORT(ps_flush) int ps_flush(Clean *clean) {
  (void)clean;
  return 0;
}

EXPORT(ps_close) void ps_close(Clean *clean) { ps_free((u32)clean, sizeof(Clean), 8); }
