/* Recurrent layers on a CPU, forward and backward: one matrix product, and the gates of each cell.
 *
 * Legend: B rows (utterances), T frames, H width, G gates times H. Arrays are float32 in C order,
 * rows first: [B, T, H]. Rows do not depend on each other, and each is summed in one fixed order, so
 * its numbers are the same in any batch and with any number of threads. A caller shares out the
 * rows: every function works on those from `first` to before `last`. What is 0 before the first
 * frame is read from `zeros` [G]; `sums` and `carry` are for use within.
 *
 * The loops over columns are written so that a compiler makes vector instructions of them.
 */

#include <stdint.h>
#include <string.h>

/* A product keeps MR rows of NR columns in registers: with AVX-512 24 of 32, else 12 of 16. */
#if defined(__AVX512F__)
#define LANES 16
#define MR 12
#elif defined(__AVX__)
#define LANES 8
#define MR 6
#else
#define LANES 4
#define MR 6
#endif
#define NR (2 * LANES)

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

/* ---- left @ right, the right matrix packed: in panels of NR columns, one k after another, as
 * Goto and van de Geijn 2008 (doi:10.1145/1356052.1356053); small right panels stay in the L2 cache */

int64_t packed_size(int64_t num_inner, int64_t num_columns) {
    return num_inner * ((num_columns + NR - 1) / NR) * NR;
}

/* The element at (k, column) is matrix[k * inner_stride + column * column_stride]. */
void pack(const float *matrix, int64_t num_inner, int64_t num_columns, int64_t inner_stride,
          int64_t column_stride, float *packed) {
    for (int64_t first = 0; first < num_columns; first += NR) {
        int64_t width = num_columns - first < NR ? num_columns - first : NR;
        for (int64_t k = 0; k < num_inner; k++, packed += NR) {
            const float *source = matrix + k * inner_stride + first * column_stride;
            for (int64_t column = 0; column < width; column++)
                packed[column] = source[column * column_stride];
            for (int64_t column = width; column < NR; column++) packed[column] = 0;
        }
    }
}

INLINE void multiply_panel(int num_rows, const float *left, int64_t left_stride, const float *panel,
                           int64_t num_inner, float *out, int64_t out_stride, int64_t width) {
    vec sums[MR][2];
    for (int row = 0; row < num_rows; row++) sums[row][0] = sums[row][1] = (vec){0};
    for (int64_t k = 0; k < num_inner; k++, panel += NR) {
        vec low = *(const vec *)panel, high = *(const vec *)(panel + LANES);
        for (int row = 0; row < num_rows; row++) {
            float factor = left[row * left_stride + k];
            sums[row][0] += factor * low;
            sums[row][1] += factor * high;
        }
    }
    for (int row = 0; row < num_rows; row++)
        memcpy(out + row * out_stride, sums[row], width * sizeof(float));
}

/* The number of rows is a constant in each case, so that the sums become registers. */
#define CASE(rows)                                                                                 \
    case rows:                                                                                     \
        multiply_panel(rows, left, left_stride, panel, num_inner, out, out_stride, width);         \
        break;

static void multiply_rows(int64_t num_rows, const float *left, int64_t left_stride,
                          const float *panel, int64_t num_inner, float *out, int64_t out_stride,
                          int64_t width) {
    switch (num_rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if MR > 6
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
}

static void multiply(int64_t num_rows, const float *left, int64_t left_stride, const float *packed,
                     int64_t num_inner, int64_t num_columns, float *out, int64_t out_stride) {
    int64_t num_blocks = (num_rows + MR - 1) / MR;
    for (int64_t first = 0; first < num_columns; first += NR, packed += num_inner * NR) {
        int64_t width = num_columns - first < NR ? num_columns - first : NR;
        for (int64_t block = 0; block < num_blocks; block++) {
            int64_t row = num_rows * block / num_blocks;
            multiply_rows(num_rows * (block + 1) / num_blocks - row, left + row * left_stride,
                          left_stride, packed, num_inner, out + row * out_stride + first,
                          out_stride, width);
        }
    }
}

void product(int64_t first, int64_t last, int64_t num_inner, int64_t num_columns, const float *left,
             const float *packed, float *out) {
    multiply(last - first, left + first * num_inner, num_inner, packed, num_inner, num_columns,
             out + first * num_columns, num_columns);
}

/* ---- e^x - 1 = 2^n (e^r - 1) + (2^n - 1) with |r| <= ln 2 / 2 and a Taylor polynomial for e^r - 1:
 * within 2e-7 of the true value, relative, also near 0; NaN stays NaN ---- */

INLINE float exp_minus_1(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -80.0f ? -80.0f : x;
    float n = __builtin_rintf(x * 1.44269504f);
    float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r;
    int32_t bits = ((int32_t)n + 127) * (1 << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    return power * p + (power - 1.0f);
}

INLINE float sigmoid(float x) { return 1.0f / (2.0f + exp_minus_1(-x)); }

INLINE float tanh_of(float x) {
    float e = exp_minus_1(2.0f * x);
    return e / (e + 2.0f);
}

/* ---- plain recurrence (Elman 1990): h' = tanh(x + U h), or ReLU for tanh ---- */

static void rnn_gates(int64_t H, int64_t relu, const float *restrict x, const float *restrict sum,
                      float *restrict h) {
    if (relu)
        for (int64_t i = 0; i < H; i++) h[i] = x[i] + sum[i] < 0.0f ? 0.0f : x[i] + sum[i];
    else
        for (int64_t i = 0; i < H; i++) h[i] = tanh_of(x[i] + sum[i]);
}

void rnn_forward(int64_t first, int64_t last, int64_t T, int64_t H, int64_t relu,
                 const float *packed, const float *zeros, float *sums, const float *inputs,
                 float *states) {
    for (int64_t t = 0; t < T; t++) {
        if (t)
            multiply(last - first, states + (first * T + t - 1) * H, T * H, packed, H, H,
                     sums + first * H, H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = (b * T + t) * H;
            rnn_gates(H, relu, inputs + at, t ? sums + b * H : zeros, states + at);
        }
    }
}

static void rnn_slopes(int64_t H, int64_t relu, const float *restrict out,
                       const float *restrict sum, const float *restrict h, float *restrict grad) {
    if (relu)
        for (int64_t i = 0; i < H; i++) grad[i] = h[i] > 0.0f ? out[i] + sum[i] : 0.0f;
    else
        for (int64_t i = 0; i < H; i++) grad[i] = (out[i] + sum[i]) * (1.0f - h[i] * h[i]);
}

/* grads: of what goes into f. */
void rnn_backward(int64_t first, int64_t last, int64_t T, int64_t H, int64_t relu,
                  const float *packed, const float *zeros, float *sums, const float *out_grads,
                  const float *states, float *grads) {
    for (int64_t t = T - 1; t >= 0; t--) {
        if (t < T - 1)
            multiply(last - first, grads + (first * T + t + 1) * H, T * H, packed, H, H,
                     sums + first * H, H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = (b * T + t) * H;
            rnn_slopes(H, relu, out_grads + at, t < T - 1 ? sums + b * H : zeros, states + at,
                       grads + at);
        }
    }
}

/* ---- GRU as cuDNN has it (Cho et al. 2014, reset after the product):
 * r, z = sigmoid(x + U h); n = tanh(x + r (U h + c)); h' = n + z (h - n) ---- */

static void gru_gates(int64_t H, const float *restrict sum, const float *restrict bias,
                      const float *restrict before, float *restrict gate, float *restrict news,
                      float *restrict h) {
    for (int64_t i = 0; i < H; i++) {
        float r = sigmoid(gate[i] + sum[i]), z = sigmoid(gate[H + i] + sum[H + i]);
        float u = sum[2 * H + i] + bias[i], n = tanh_of(gate[2 * H + i] + r * u);
        h[i] = n + z * (before[i] - n);
        gate[i] = r, gate[H + i] = z, gate[2 * H + i] = u, news[i] = n;
    }
}

/* gates: x before, and r, z, U h + c after. */
void gru_forward(int64_t first, int64_t last, int64_t T, int64_t H, const float *packed,
                 const float *zeros, float *sums, const float *bias, float *gates, float *news,
                 float *states) {
    for (int64_t t = 0; t < T; t++) {
        if (t)
            multiply(last - first, states + (first * T + t - 1) * H, T * H, packed, H, 3 * H,
                     sums + first * 3 * H, 3 * H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            gru_gates(H, t ? sums + b * 3 * H : zeros, bias, t ? states + (at - 1) * H : zeros,
                      gates + at * 3 * H, news + at * H, states + at * H);
        }
    }
}

static void gru_slopes(int64_t H, const float *restrict out, const float *restrict sum,
                       const float *restrict before, const float *restrict gate,
                       const float *restrict news, float *restrict later, float *restrict grad,
                       float *restrict new_grad) {
    for (int64_t i = 0; i < H; i++) {
        float r = gate[i], z = gate[H + i], n = news[i], d = out[i] + later[i] + sum[i];
        float dn = d * (1.0f - z) * (1.0f - n * n);
        grad[i] = dn * gate[2 * H + i] * r * (1.0f - r);
        grad[H + i] = d * (before[i] - n) * z * (1.0f - z);
        grad[2 * H + i] = dn * r;
        new_grad[i] = dn;
        later[i] = d * z;
    }
}

/* grads: of what goes into r and z, and of U h + c; new_grads: of what goes into n. */
void gru_backward(int64_t first, int64_t last, int64_t T, int64_t H, const float *packed,
                  const float *zeros, float *sums, float *carry, const float *out_grads,
                  const float *states, const float *news, const float *gates, float *grads,
                  float *new_grads) {
    memset(carry + first * H, 0, (last - first) * H * sizeof(float));
    for (int64_t t = T - 1; t >= 0; t--) {
        if (t < T - 1)
            multiply(last - first, grads + (first * T + t + 1) * 3 * H, T * 3 * H, packed, 3 * H, H,
                     sums + first * H, H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            gru_slopes(H, out_grads + at * H, t < T - 1 ? sums + b * H : zeros,
                       t ? states + (at - 1) * H : zeros, gates + at * 3 * H, news + at * H,
                       carry + b * H, grads + at * 3 * H, new_grads + at * H);
        }
    }
}

/* ---- LSTM (Hochreiter and Schmidhuber 1997, with forget gates; torch's order of gates):
 * i, f, o = sigmoid(x + U h); g = tanh(x + U h); c' = f c + i g; h' = o tanh(c') ---- */

static void lstm_gates(int64_t H, const float *restrict sum, const float *restrict before,
                       float *restrict gate, float *restrict c, float *restrict h) {
    for (int64_t j = 0; j < H; j++) {
        float i = sigmoid(gate[j] + sum[j]), f = sigmoid(gate[H + j] + sum[H + j]);
        float g = tanh_of(gate[2 * H + j] + sum[2 * H + j]);
        float o = sigmoid(gate[3 * H + j] + sum[3 * H + j]), now = f * before[j] + i * g;
        c[j] = now;
        h[j] = o * tanh_of(now);
        gate[j] = i, gate[H + j] = f, gate[2 * H + j] = g, gate[3 * H + j] = o;
    }
}

/* gates: x before, and i, f, g, o after. */
void lstm_forward(int64_t first, int64_t last, int64_t T, int64_t H, const float *packed,
                  const float *zeros, float *sums, float *gates, float *cells, float *states) {
    for (int64_t t = 0; t < T; t++) {
        if (t)
            multiply(last - first, states + (first * T + t - 1) * H, T * H, packed, H, 4 * H,
                     sums + first * 4 * H, 4 * H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            lstm_gates(H, t ? sums + b * 4 * H : zeros, t ? cells + (at - 1) * H : zeros,
                       gates + at * 4 * H, cells + at * H, states + at * H);
        }
    }
}

static void lstm_slopes(int64_t H, const float *restrict out, const float *restrict sum,
                        const float *restrict before, const float *restrict c,
                        const float *restrict gate, float *restrict later, float *restrict grad) {
    for (int64_t j = 0; j < H; j++) {
        float i = gate[j], f = gate[H + j], g = gate[2 * H + j], o = gate[3 * H + j];
        float w = tanh_of(c[j]), d = out[j] + sum[j], dc = later[j] + d * o * (1.0f - w * w);
        grad[j] = dc * g * i * (1.0f - i);
        grad[H + j] = dc * before[j] * f * (1.0f - f);
        grad[2 * H + j] = dc * i * (1.0f - g * g);
        grad[3 * H + j] = d * w * o * (1.0f - o);
        later[j] = dc * f;
    }
}

/* grads: of what goes into the four gates. */
void lstm_backward(int64_t first, int64_t last, int64_t T, int64_t H, const float *packed,
                   const float *zeros, float *sums, float *carry, const float *out_grads,
                   const float *cells, const float *gates, float *grads) {
    memset(carry + first * H, 0, (last - first) * H * sizeof(float));
    for (int64_t t = T - 1; t >= 0; t--) {
        if (t < T - 1)
            multiply(last - first, grads + (first * T + t + 1) * 4 * H, T * 4 * H, packed, 4 * H, H,
                     sums + first * H, H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            lstm_slopes(H, out_grads + at * H, t < T - 1 ? sums + b * H : zeros,
                        t ? cells + (at - 1) * H : zeros, cells + at * H, gates + at * 4 * H,
                        carry + b * H, grads + at * 4 * H);
        }
    }
}
