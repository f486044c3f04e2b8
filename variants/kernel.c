/* What training takes its time for on a CPU: matrix products, recurrent layers (a product a frame,
 * and the gates of each cell), convolutions over time, batch normalisation, dropout, and the CTC
 * loss; each forward and backward.
 *
 * Legend: B rows (utterances), T frames, H width, G gates times H. Arrays are float32 in C order,
 * rows first: [B, T, H]. A caller shares out the rows (of sums over rows, the columns): every
 * function works on those from `first` to before `last`. They do not depend on each other, and each
 * is summed in one fixed order, so its numbers are the same with any number of threads and, but for
 * batch statistics and weight gradients, in any batch. What is 0 before the first frame is read from
 * `zeros` [G]; `sums` and `carry` are for use within.
 *
 * The loops over columns are written so that a compiler makes vector instructions of them.
 */

#include <stddef.h>
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

/* Of `most` floats the first `num`; all of them, the usual case, without a call. */
INLINE void copy(int64_t num, int64_t most, const float *from, float *to) {
    if (num == most)
        memcpy(to, from, most * sizeof(float));
    else
        memcpy(to, from, num * sizeof(float));
}

/* out = start + left @ panel; the rows of `start` lie start_stride apart, NULL is zeros. The element
 * of left at (row, k) is left[row * row_stride + k * inner_stride]. */
INLINE void multiply_panel(int num_rows, const float *left, int64_t row_stride,
                           int64_t inner_stride, const float *panel, int64_t num_inner,
                           const float *start, int64_t start_stride, float *out, int64_t out_stride,
                           int64_t width) {
    vec sums[MR][2];
    for (int row = 0; row < num_rows; row++) {
        sums[row][0] = sums[row][1] = (vec){0};
        if (start) copy(width, NR, start + row * start_stride, (float *)sums[row]);
    }
    for (int64_t k = 0; k < num_inner; k++, panel += NR, left += inner_stride) {
        vec low = *(const vec *)panel, high = *(const vec *)(panel + LANES);
        for (int row = 0; row < num_rows; row++) {
            float factor = left[row * row_stride];
            sums[row][0] += factor * low;
            sums[row][1] += factor * high;
        }
    }
    for (int row = 0; row < num_rows; row++)
        copy(width, NR, (const float *)sums[row], out + row * out_stride);
}

/* The number of rows is a constant in each case, so that the sums become registers. */
#define CASE(rows)                                                                                 \
    case rows:                                                                                     \
        multiply_panel(rows, left, row_stride, inner_stride, panel, num_inner, start,              \
                       start_stride, out, out_stride, width);                                      \
        break;

INLINE void multiply_rows(int64_t num_rows, const float *left, int64_t row_stride,
                          int64_t inner_stride, const float *panel, int64_t num_inner,
                          const float *start, int64_t start_stride, float *out, int64_t out_stride,
                          int64_t width) {
    switch (num_rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if MR > 6
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
}

/* out = bias + left @ right, the same bias for each row, or none (NULL). */
static void multiply(int64_t num_rows, const float *left, int64_t left_stride, const float *packed,
                     int64_t num_inner, int64_t num_columns, const float *bias, float *out,
                     int64_t out_stride) {
    int64_t num_blocks = (num_rows + MR - 1) / MR;
    for (int64_t first = 0; first < num_columns; first += NR, packed += num_inner * NR) {
        int64_t width = num_columns - first < NR ? num_columns - first : NR;
        for (int64_t block = 0; block < num_blocks; block++) {
            int64_t row = num_rows * block / num_blocks;
            multiply_rows(num_rows * (block + 1) / num_blocks - row, left + row * left_stride,
                          left_stride, 1, packed, num_inner, bias ? bias + first : NULL, 0,
                          out + row * out_stride + first, out_stride, width);
        }
    }
}

/* Rows of a long left factor stay in the L2 cache for all panels. */
#define ROW_BLOCK (10 * MR)

static void multiply_blocks(int64_t num_rows, const float *left, int64_t left_stride,
                            const float *packed, int64_t num_inner, int64_t num_columns,
                            const float *bias, float *out) {
    for (int64_t row = 0; row < num_rows; row += ROW_BLOCK)
        multiply(num_rows - row < ROW_BLOCK ? num_rows - row : ROW_BLOCK, left + row * left_stride,
                 left_stride, packed, num_inner, num_columns, bias, out + row * num_columns,
                 num_columns);
}

void product(int64_t first, int64_t last, int64_t num_inner, int64_t num_columns, const float *left,
             const float *packed, const float *bias, float *out) {
    multiply_blocks(last - first, left + first * num_inner, num_inner, packed, num_inner,
                    num_columns, bias, out + first * num_columns);
}

/* out += left^T @ right: weight gradients, long sums into a small matrix, taken in blocks of frames
 * that stay in the caches; MR rows of left^T at a time, beside each other in `own`. */
#define INNER_BLOCK 256

INLINE void take_rows(int64_t num_rows, int64_t num_inner, const float *left, int64_t left_stride,
                      float *own) {
    for (int64_t k = 0; k < num_inner; k++)
        copy(num_rows, MR, left + k * left_stride, own + k * MR);
}

/* The panels of `packed` lie panel_stride apart. */
INLINE void add_rows(int64_t num_rows, int64_t num_inner, int64_t num_columns, const float *own,
                     const float *packed, int64_t panel_stride, float *out) {
    for (int64_t column = 0; column < num_columns; column += NR, packed += panel_stride)
        multiply_rows(num_rows, own, 1, MR, packed, num_inner, out + column, num_columns,
                      out + column, num_columns,
                      num_columns - column < NR ? num_columns - column : NR);
}

/* sums [G] and weight gradients [G, C] and [G, H], zeros before, of gradients [N, G] and what was
 * multiplied, packed: [N, C] and perhaps [N, H]. Shared out by the rows of the three. */
void add_weight_grads(int64_t first, int64_t last, int64_t N, int64_t G, int64_t C, int64_t H,
                      const float *grads, const float *packed, const float *packed_2, float *sums,
                      float *out, float *out_2) {
    float own[INNER_BLOCK * MR];
    for (int64_t begin = 0; begin < N; begin += INNER_BLOCK) {
        int64_t size = N - begin < INNER_BLOCK ? N - begin : INNER_BLOCK;
        for (int64_t row = first; row < last; row += MR) {
            int64_t height = last - row < MR ? last - row : MR;
            float sum[MR] = {0};
            take_rows(height, size, grads + begin * G + row, G, own);
            for (int64_t k = 0; k < size; k++)
                for (int64_t i = 0; i < MR; i++) sum[i] += own[k * MR + i];
            for (int64_t i = 0; i < height; i++) sums[row + i] += sum[i];
            add_rows(height, size, C, own, packed + begin * NR, N * NR, out + row * C);
            if (packed_2)
                add_rows(height, size, H, own, packed_2 + begin * NR, N * NR, out_2 + row * H);
        }
    }
}

/* ---- convolution over time: the same two products, their left factor the windows of an utterance,
 * [B, U, size], which overlap in [B, row]: each begins `step` floats after the one before ---- */

void convolve(int64_t first, int64_t last, int64_t U, int64_t row, int64_t step, int64_t size,
              int64_t num_columns, const float *inputs, const float *packed, const float *bias,
              float *out) {
    for (int64_t b = first; b < last; b++)
        multiply_blocks(U, inputs + b * row, step, packed, size, num_columns, bias,
                        out + b * U * num_columns);
}

/* `packed` holds the gradients [B * U, num_columns] of what `convolve` gave. */
void add_convolution_grad(int64_t first, int64_t last, int64_t B, int64_t U, int64_t row,
                          int64_t step, int64_t num_columns, const float *inputs,
                          const float *packed, float *out) {
    float own[INNER_BLOCK * MR];
    for (int64_t b = 0; b < B; b++)
        for (int64_t begin = 0; begin < U; begin += INNER_BLOCK) {
            int64_t size = U - begin < INNER_BLOCK ? U - begin : INNER_BLOCK;
            for (int64_t at = first; at < last; at += MR) {
                int64_t height = last - at < MR ? last - at : MR;
                take_rows(height, size, inputs + b * row + begin * step + at, step, own);
                add_rows(height, size, num_columns, own, packed + (b * U + begin) * NR,
                         B * U * NR, out + at * num_columns);
            }
        }
}

/* ---- batch normalisation (Ioffe and Szegedy 2015). x [B, R, C]: of the R rows of b
 * the first own[b] count, the others are padding. Sums are shared out by channels, each taken in
 * blocks of rows, so that their rounding does not grow with the batch. ---- */

#define NORM_ROWS 64
#define NORM_CHANNELS 256 /* at a time */

static void block_moments(int64_t num_rows, int64_t num, int64_t C, const float *restrict x,
                          float *restrict mean, float *restrict squares) {
    for (int64_t i = 0; i < num; i++) mean[i] = squares[i] = 0.0f;
    for (int64_t row = 0; row < num_rows; row++)
        for (int64_t i = 0; i < num; i++) mean[i] += x[row * C + i];
    for (int64_t i = 0; i < num; i++) mean[i] /= num_rows;
    for (int64_t row = 0; row < num_rows; row++)
        for (int64_t i = 0; i < num; i++) {
            float centred = x[row * C + i] - mean[i];
            squares[i] += centred * centred;
        }
}

/* How the moments of two parts make those of both: Chan, Golub and LeVeque 1983,
 * doi:10.1080/00031305.1983.10483115. `part` is the share of the rows that the second has. */
static void join_moments(int64_t num, float part, float num_before, const float *restrict mean_2,
                         const float *restrict squares_2, float *restrict mean,
                         float *restrict squares) {
    for (int64_t i = 0; i < num; i++) {
        float step = mean_2[i] - mean[i];
        mean[i] += step * part;
        squares[i] += squares_2[i] + step * step * part * num_before;
    }
}

/* means [C] and squares [C], the sums of squared distances from them; of no rows zeros. */
void moments(int64_t first, int64_t last, int64_t B, int64_t R, int64_t C, const int64_t *own,
             const float *x, float *means, float *squares) {
    float mean[NORM_CHANNELS], square[NORM_CHANNELS];
    for (int64_t c = first; c < last; c += NORM_CHANNELS) {
        int64_t num = last - c < NORM_CHANNELS ? last - c : NORM_CHANNELS, seen = 0;
        memset(means + c, 0, num * sizeof(float));
        memset(squares + c, 0, num * sizeof(float));
        for (int64_t b = 0; b < B; b++)
            for (int64_t row = 0; row < own[b]; row += NORM_ROWS) {
                int64_t num_rows = own[b] - row < NORM_ROWS ? own[b] - row : NORM_ROWS;
                block_moments(num_rows, num, C, x + (b * R + row) * C + c, mean, square);
                join_moments(num, (float)num_rows / (seen + num_rows), seen, mean, square,
                             means + c, squares + c);
                seen += num_rows;
            }
    }
}

/* y = (x - mean) * gain + bias, of rows [N, C]. */
void normalize(int64_t first, int64_t last, int64_t C, const float *restrict x,
               const float *restrict mean, const float *restrict gain, const float *restrict bias,
               float *restrict y) {
    for (int64_t at = first * C; at < last * C; at += C)
        for (int64_t i = 0; i < C; i++) y[at + i] = (x[at + i] - mean[i]) * gain[i] + bias[i];
}

static void block_sums(int64_t num_rows, int64_t num, int64_t C, const float *restrict grads,
                       const float *restrict x, const float *restrict mean, float *restrict sums,
                       float *restrict products) {
    for (int64_t i = 0; i < num; i++) sums[i] = products[i] = 0.0f;
    for (int64_t row = 0; row < num_rows; row++)
        for (int64_t i = 0; i < num; i++) {
            float grad = grads[row * C + i];
            sums[i] += grad;
            products[i] += grad * (x[row * C + i] - mean[i]);
        }
}

/* Over all N rows: sums [C] of the gradients, and products [C] with what lies around the mean. */
void normalize_sums(int64_t first, int64_t last, int64_t N, int64_t C, const float *grads,
                    const float *x, const float *means, float *sums, float *products) {
    float sum[NORM_CHANNELS], product[NORM_CHANNELS];
    for (int64_t c = first; c < last; c += NORM_CHANNELS) {
        int64_t num = last - c < NORM_CHANNELS ? last - c : NORM_CHANNELS;
        memset(sums + c, 0, num * sizeof(float));
        memset(products + c, 0, num * sizeof(float));
        for (int64_t row = 0; row < N; row += NORM_ROWS) {
            block_sums(N - row < NORM_ROWS ? N - row : NORM_ROWS, num, C, grads + row * C + c,
                       x + row * C + c, means + c, sum, product);
            for (int64_t i = 0; i < num; i++) sums[c + i] += sum[i], products[c + i] += product[i];
        }
    }
}

/* The gradients of x; of an utterance's own rows less what goes through the moments:
 * (grad - shared - (x - mean) * slope) * gain. */
void normalize_back(int64_t first, int64_t last, int64_t R, int64_t C, const int64_t *own,
                    const float *restrict grads, const float *restrict x,
                    const float *restrict mean, const float *restrict shared,
                    const float *restrict slope, const float *restrict gain,
                    float *restrict x_grads) {
    for (int64_t b = first; b < last; b++)
        for (int64_t row = 0; row < R; row++) {
            int64_t at = (b * R + row) * C;
            if (row < own[b])
                for (int64_t i = 0; i < C; i++)
                    x_grads[at + i] =
                        (grads[at + i] - shared[i] - (x[at + i] - mean[i]) * slope[i]) * gain[i];
            else
                for (int64_t i = 0; i < C; i++) x_grads[at + i] = grads[at + i] * gain[i];
        }
}

/* ---- dropout (Srivastava et al. 2014): y = x 2^16 / num_kept where a draw of 16 bits is one of the
 * num_kept least, else 0 (of what is not finite: NaN) ---- */

void drop(int64_t first, int64_t last, int64_t num_kept, const int16_t *restrict draws,
          const float *restrict x, float *restrict y) {
    float scale = (float)(65536.0 / num_kept);
    int32_t limit = (int32_t)(num_kept - 32768);
    for (int64_t i = first; i < last; i++) y[i] = x[i] * (draws[i] < limit ? scale : 0.0f);
}

/* ---- e^x - 1 = 2^n (e^r - 1) + (2^n - 1) with |r| <= ln 2 / 2 and a Taylor polynomial for e^r - 1:
 * within 2e-7 of the true value, relative, also near 0; NaN stays NaN ---- */

/* e^r - 1; `power` becomes 2^n. */
INLINE float reduced(float x, float *power) {
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
    int32_t bits = ((int32_t)n + 127) * (1 << 23);
    memcpy(power, &bits, sizeof bits);
    return p * r * r + r;
}

INLINE float exp_minus_1(float x) {
    float power, p = reduced(x, &power);
    return power * p + (power - 1.0f);
}

INLINE float exp_of(float x) {
    float power, p = reduced(x, &power);
    return power * p + power;
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
            multiply(last - first, states + (first * T + t - 1) * H, T * H, packed, H, H, NULL,
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
            multiply(last - first, grads + (first * T + t + 1) * H, T * H, packed, H, H, NULL,
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
            multiply(last - first, states + (first * T + t - 1) * H, T * H, packed, H, 3 * H, NULL,
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
            multiply(last - first, grads + (first * T + t + 1) * 3 * H, T * 3 * H, packed, 3 * H,
                     H, NULL, sums + first * H, H);
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
            multiply(last - first, states + (first * T + t - 1) * H, T * H, packed, H, 4 * H, NULL,
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
            multiply(last - first, grads + (first * T + t + 1) * 4 * H, T * 4 * H, packed, 4 * H,
                     H, NULL, sums + first * H, H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            lstm_slopes(H, out_grads + at * H, t < T - 1 ? sums + b * H : zeros,
                        t ? cells + (at - 1) * H : zeros, cells + at * H, gates + at * 4 * H,
                        carry + b * H, grads + at * 4 * H);
        }
    }
}

/* ---- CTC loss (Graves et al. 2006, section 4): all ways to spell a text with blanks in between.
 *
 * Legend: U output frames, V symbols, L labels of a text. A way is, at each frame, on one of the L
 * labels or on one of the L + 1 blanks around them. Probabilities are logarithms, at each frame
 * divided by the largest of the frame, so that those that matter are near 0, where floats are dense.
 * The sums over the ends of ways are those over their beginnings with frames and labels in reverse
 * order. ---- */

#define IMPOSSIBLE -1e30f
#define LEAST_EMISSION -1e9f /* stands for all less, the logarithm of 0 too; NaN stays NaN */

/* z + z^3/3 + ... = atanh z with s = 2^k (1 + z) / (1 - z), for s from 1 to 3. */
INLINE float log_1_to_3(float s) {
    float scale = s > 1.5f ? 0.5f : 1.0f, base = s > 1.5f ? 0.693147181f : 0.0f;
    float z = (s * scale - 1.0f) / (s * scale + 1.0f), q = z * z;
    return base + 2.0f * z * (1.0f + q * (1.0f / 3 + q * (0.2f + q * (1.0f / 7 + q / 9))));
}

/* log(e^a + e^b) */
INLINE float log_add(float a, float b) {
    float high = a > b ? a : b, low = a > b ? b : a;
    return high + log_1_to_3(1.0f + exp_of(low - high));
}

INLINE float log_add_3(float a, float b, float c) {
    float high = a > b ? a : b, low = a > b ? b : a;
    float most = c > high ? c : high, rest = c > high ? high : c;
    return most + log_1_to_3(1.0f + exp_of(low - most) + exp_of(rest - most));
}

static float largest(int64_t num, const float *values) {
    float lanes[LANES], most = IMPOSSIBLE;
    int64_t i = 0;
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = IMPOSSIBLE;
    for (; i + LANES <= num; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] = values[i + lane] > lanes[lane] ? values[i + lane] : lanes[lane];
    for (; i < num; i++) most = values[i] > most ? values[i] : most;
    for (int lane = 0; lane < LANES; lane++) most = lanes[lane] > most ? lanes[lane] : most;
    return most;
}

INLINE float emission(float log_prob) {
    return log_prob < LEAST_EMISSION ? LEAST_EMISSION : log_prob;
}

static void ctc_emit(int64_t L, const float *log_probs, const int64_t *labels, int64_t step,
                     float *emitted) {
    for (int64_t i = 0; i < L; i++) emitted[i] = emission(log_probs[labels[i * step]]);
}

/* Whether the blank between a label and the one before may be left out, as 0 or IMPOSSIBLE. */
static void ctc_skips(int64_t L, const int64_t *labels, int64_t step, float *skips) {
    if (L) skips[0] = IMPOSSIBLE;
    for (int64_t i = 1; i < L; i++)
        skips[i] = labels[i * step] == labels[(i - 1) * step] ? IMPOSSIBLE : 0.0f;
}

/* Of a frame: one IMPOSSIBLE, the L labels, the L + 1 blanks. Here: what is before the first. */
static void ctc_start(int64_t L, float *states) {
    for (int64_t i = 0; i < 2 * L + 2; i++) states[i] = IMPOSSIBLE;
    states[L + 1] = 0.0f;
}

/* From one frame to the next; what the new frame was divided by. */
static float ctc_step(int64_t L, float blank, const float *restrict emitted,
                      const float *restrict skips, const float *restrict before,
                      float *restrict now) {
    const float *blanks = before + L + 1;
    now[0] = IMPOSSIBLE;
    for (int64_t i = 0; i < L; i++)
        now[i + 1] = emitted[i] + log_add_3(before[i + 1], blanks[i], before[i] + skips[i]);
    for (int64_t i = 0; i <= L; i++) now[L + 1 + i] = blank + log_add(blanks[i], before[i]);
    float most = largest(2 * L + 2, now);
    for (int64_t i = 0; i < 2 * L + 2; i++) now[i] -= most;
    return most;
}

/* grads[v] = -(the share of ways that are on symbol v at this frame). */
static void ctc_occupancy(int64_t L, int64_t V, int64_t blank, float blank_emission,
                          const int64_t *labels, const float *restrict emitted,
                          const float *restrict ahead, const float *restrict back,
                          float *restrict joint, float *restrict grads) {
    /* Both hold the frame's own emission; `back` and `emitted` are in reverse order. */
    for (int64_t i = 0; i < L; i++) joint[i] = ahead[i + 1] + back[L - i] - emitted[L - 1 - i];
    for (int64_t i = 0; i <= L; i++)
        joint[L + i] = ahead[L + 1 + i] + back[2 * L + 1 - i] - blank_emission;
    float most = largest(2 * L + 1, joint), total = 0.0f;
    for (int64_t i = 0; i <= 2 * L; i++) joint[i] = exp_of(joint[i] - most);
    for (int64_t i = 0; i < L; i++) grads[labels[i]] += joint[i];
    for (int64_t i = 0; i <= L; i++) grads[blank] += joint[L + i];
    for (int64_t v = 0; v < V; v++) total += grads[v];
    for (int64_t v = 0; v < V; v++) grads[v] /= -total;
}

/* lens and target_lens [B]; targets [B, L]; states [B, U + 1, 2 L + 2] and within [B, 5 (2 L + 2)]
 * are for use within. losses [B]: in nats, infinite where no way is possible. grads [B, U, V]:
 * zeros before, and written only `with_grads`; none where the loss is infinite. */
void ctc(int64_t first, int64_t last, int64_t U, int64_t V, int64_t most_labels, int64_t blank,
         int64_t with_grads, const float *log_probs, const int64_t *lens, const int64_t *targets,
         const int64_t *target_lens, float *states, float *within, float *losses, float *grads) {
    int64_t most_states = 2 * most_labels + 2;
    for (int64_t b = first; b < last; b++) {
        int64_t T = lens[b], L = target_lens[b], num_states = 2 * L + 2;
        const int64_t *labels = targets + b * most_labels;
        const float *probs = log_probs + b * U * V;
        float *ahead = states + b * (U + 1) * most_states, *own = within + b * 5 * most_states;
        float *emitted = own, *skips = own + most_states, *joint = own + 2 * most_states;
        float *back = own + 3 * most_states, *back_next = own + 4 * most_states;
        double log_prob = 0;
        ctc_start(L, ahead);
        ctc_skips(L, labels, 1, skips);
        for (int64_t t = 0; t < T; t++, ahead += num_states) {
            ctc_emit(L, probs + t * V, labels, 1, emitted);
            log_prob += ctc_step(L, emission(probs[t * V + blank]), emitted, skips, ahead,
                                 ahead + num_states);
        }
        log_prob += log_add(ahead[L], ahead[2 * L + 1]);
        int impossible = log_prob < 0.5 * LEAST_EMISSION;
        losses[b] = impossible ? __builtin_inff() : (float)-log_prob;
        if (!with_grads || impossible) continue;

        const int64_t *last_label = L ? labels + L - 1 : labels;
        ctc_start(L, back);
        ctc_skips(L, last_label, -1, skips);
        for (int64_t t = T - 1; t >= 0; t--, ahead -= num_states) {
            float blank_emission = emission(probs[t * V + blank]);
            ctc_emit(L, probs + t * V, last_label, -1, emitted);
            ctc_step(L, blank_emission, emitted, skips, back, back_next);
            ctc_occupancy(L, V, blank, blank_emission, labels, emitted, ahead, back_next, joint,
                          grads + (b * U + t) * V);
            float *swap = back;
            back = back_next, back_next = swap;
        }
    }
}
