/* Where training spends its time on a CPU: matrix products, recurrent layers (a product per frame,
 * and the gates of each cell), convolutions over time, batch normalisation, dropout, and the CTC
 * loss; each forward and backward.
 *
 * Legend: B rows (utterances), T frames, H width, G gates times H. Arrays are float32 in C order,
 * rows first: [B, T, H].
 *
 * An exported function is `void f(first, last, const struct f *args)`. The struct holds integers,
 * then arrays, each with its shape. variants/ops/kernel_signatures.py reads both off this file, says
 * how a shape is written, and checks each array before the call.
 * The caller splits the rows (for sums over rows, the columns), which the first integer counts,
 * among threads: a call computes those from `first` to before `last`. Rows are independent and each
 * is summed in one fixed order, so results do not depend on the number of threads nor, except for
 * batch statistics and weight gradients, on the rest of the batch.
 *
 *     thread 0: first = 0      last = B/2      rows 0 ... B/2 - 1 of every array
 *     thread 1: first = B/2    last = B        rows B/2 ... B - 1
 *
 * Recurrences start from a given state. `scratch` holds one row per utterance: before a forward
 * call the product of the initial state with U, before a backward call zeros. `carry` is the
 * gradient of what passes from frame to frame without U: of the final state before the call (zeros
 * for a GRU, whose final state is an output), of the initial state after it.
 *
 * Loops over columns are written so that a compiler vectorises them.
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

/* ---- left @ right, the right matrix packed: in panels of NR columns, one k after another, as Goto
 * and van de Geijn 2008 (doi:10.1145/1356052.1356053); small right panels stay in the L2 cache.
 *
 *     right [K, N]      a a b b c        packed: a a a a a a b b b b b b c 0 c 0 c 0
 *     with NR = 2       a a b b c                panel 0     panel 1     panel 2, filled up
 *                       a a b b c
 */

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

/* out = start + left @ panel; rows of `start` lie start_stride apart, NULL is zeros. The element of
 * left at (row, k) is left[row * row_stride + k * inner_stride]. */
INLINE void multiply_panel(int num_rows, const float *left, int64_t row_stride,
                           int64_t inner_stride, const float *panel, int64_t num_inner,
                           const float *start, int64_t start_stride, float *out, int64_t out_stride,
                           int64_t width) {
    vec sums[MR][2];
    for (int row = 0; row < num_rows; row++) {
        sums[row][0] = sums[row][1] = (vec){0};
        if (start) copy(width, NR, start + row * start_stride, (float *)sums[row]);
    }
    /* Each k loads the panel's two vectors once for all rows, and one factor a row. */
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

/* The number of rows is a constant in each case, so that the sums become registers: with a variable
 * number they would be an array in memory, read and written once per k. */
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

/* out = bias + left @ right, the same bias for each row, or none (NULL). Rows are divided evenly,
 * 13 into 7 and 6 and not into 12 and 1: a block of few rows has too few sums that do not wait for
 * one another. */
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

/* out [M, N] = bias + left @ right */
struct product {
    int64_t M, K, N;
    const float *left;  /* [M, K] */
    const float *right; /* [K, N], packed */
    const float *bias;  /* [N], or NULL */
    float *out;         /* [M, N] */
};

void product(int64_t first, int64_t last, const struct product *args) {
    int64_t K = args->K, N = args->N;
    multiply_blocks(last - first, args->left + first * K, K, args->right, K, N, args->bias,
                    args->out + first * N);
}

/* out += left^T @ right: weight gradients, long sums into a small matrix, in blocks of frames that
 * stay in the caches; MR rows of left^T at a time, copied next to each other into `block`:
 *
 *     left [N, G]            block [frames, MR]      out [G, C]
 *     . . a b c . .            a b c                 rows a, b, c += block^T @ right
 *     . . d e f . .            d e f
 */
#define INNER_BLOCK 256

INLINE void take_rows(int64_t num_rows, int64_t num_inner, const float *left, int64_t left_stride,
                      float *block) {
    for (int64_t k = 0; k < num_inner; k++)
        copy(num_rows, MR, left + k * left_stride, block + k * MR);
}

/* The panels of `packed` lie panel_stride apart. */
INLINE void add_rows(int64_t num_rows, int64_t num_inner, int64_t num_columns, const float *block,
                     const float *packed, int64_t panel_stride, float *out) {
    for (int64_t column = 0; column < num_columns; column += NR, packed += panel_stride)
        multiply_rows(num_rows, block, 1, MR, packed, num_inner, out + column, num_columns,
                      out + column, num_columns,
                      num_columns - column < NR ? num_columns - column : NR);
}

/* The gradients of a layer's bias, of its weights, and perhaps of the weights of its state. Rows of
 * the three outputs are split among threads. */
struct add_weight_grads {
    int64_t G, N, C, H;
    const float *grads;   /* [N, G] */
    const float *left;    /* [N, C], packed: the layer's inputs */
    const float *right;   /* [N, H], packed, or NULL: the states before */
    float *bias_grad;     /* [G], zeros before */
    float *left_grad;     /* [G, C], zeros before */
    float *right_grad;    /* [G, H], zeros before */
};

void add_weight_grads(int64_t first, int64_t last, const struct add_weight_grads *args) {
    int64_t N = args->N, G = args->G, C = args->C, H = args->H;
    float block[INNER_BLOCK * MR];
    for (int64_t begin = 0; begin < N; begin += INNER_BLOCK) {
        int64_t size = N - begin < INNER_BLOCK ? N - begin : INNER_BLOCK;
        for (int64_t row = first; row < last; row += MR) {
            int64_t height = last - row < MR ? last - row : MR;
            float sum[MR] = {0};
            take_rows(height, size, args->grads + begin * G + row, G, block);
            for (int64_t k = 0; k < size; k++)
                for (int64_t i = 0; i < MR; i++) sum[i] += block[k * MR + i];
            for (int64_t i = 0; i < height; i++) args->bias_grad[row + i] += sum[i];
            /* A panel holds N frames of NR columns; frame `begin` lies begin NR after its start. */
            add_rows(height, size, C, block, args->left + begin * NR, N * NR,
                     args->left_grad + row * C);
            if (args->right)
                add_rows(height, size, H, block, args->right + begin * NR, N * NR,
                         args->right_grad + row * H);
        }
    }
}

/* ---- convolution over time: the same two products, their left factor the U windows of an
 * utterance. A window is `size` floats, and begins `step` floats after the one before: windows
 * overlap in the utterance's `length` floats, and nothing is copied.
 *
 *     [ frame 0 | frame 1 | frame 2 | frame 3 | frame 4 ]    length: 5 frames of C floats
 *     [ ------- window 0 ---------- ]                        size: 3 frames
 *                         [ ------- window 1 ---------- ]    step: 2 frames
 */

struct convolve {
    int64_t B, U, D, length, step, size;
    const float *inputs; /* [B, length] */
    const float *weight; /* [size, D], packed */
    const float *bias;   /* [D], or NULL */
    float *out;          /* [B, U, D] */
};

void convolve(int64_t first, int64_t last, const struct convolve *args) {
    int64_t U = args->U, D = args->D;
    for (int64_t b = first; b < last; b++)
        multiply_blocks(U, args->inputs + b * args->length, args->step, args->weight, args->size, D,
                        args->bias, args->out + b * U * D);
}

/* Rows of the weight's gradient are split among threads. */
struct add_convolution_grad {
    int64_t size, B, U, D, length, step;
    const float *inputs; /* [B, length] */
    const float *grads;  /* [B U, D], packed: of what `convolve` put out */
    float *weight_grad;  /* [size, D], zeros before */
};

void add_convolution_grad(int64_t first, int64_t last, const struct add_convolution_grad *args) {
    int64_t B = args->B, U = args->U, D = args->D, step = args->step;
    float block[INNER_BLOCK * MR];
    for (int64_t b = 0; b < B; b++)
        for (int64_t begin = 0; begin < U; begin += INNER_BLOCK) {
            int64_t size = U - begin < INNER_BLOCK ? U - begin : INNER_BLOCK;
            const float *inputs = args->inputs + b * args->length + begin * step;
            for (int64_t row = first; row < last; row += MR) {
                int64_t height = last - row < MR ? last - row : MR;
                take_rows(height, size, inputs + row, step, block);
                add_rows(height, size, D, block, args->grads + (b * U + begin) * NR, B * U * NR,
                         args->weight_grad + row * D);
            }
        }
}

/* ---- batch normalisation (Ioffe and Szegedy 2015). x [B, R, C]: of the R rows of b
 * the first lens[b] count, the others are padding. Sums are split among threads by channels, each
 * taken in blocks of rows, so that their rounding does not grow with the batch. ---- */

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
 * doi:10.1080/00031305.1983.10483115. `part` is the share of the rows that the second has, so that
 * part * num_before = n m / (n + m), the weight of the squared distance of the two means. */
static void join_moments(int64_t num, float part, float num_before, const float *restrict mean_2,
                         const float *restrict squares_2, float *restrict mean,
                         float *restrict squares) {
    for (int64_t i = 0; i < num; i++) {
        float step = mean_2[i] - mean[i];
        mean[i] += step * part;
        squares[i] += squares_2[i] + step * step * part * num_before;
    }
}

/* The mean of each channel, and the sum of squared distances from it; of no rows zeros. */
struct moments {
    int64_t C, B, R;
    const int64_t *lens; /* [B], at most R */
    const float *x;      /* [B, R, C] */
    float *mean;         /* [C] */
    float *squares;      /* [C] */
};

void moments(int64_t first, int64_t last, const struct moments *args) {
    int64_t B = args->B, R = args->R, C = args->C;
    float mean[NORM_CHANNELS], squares[NORM_CHANNELS];
    for (int64_t c = first; c < last; c += NORM_CHANNELS) {
        int64_t num = last - c < NORM_CHANNELS ? last - c : NORM_CHANNELS, seen = 0;
        memset(args->mean + c, 0, num * sizeof(float));
        memset(args->squares + c, 0, num * sizeof(float));
        for (int64_t b = 0; b < B; b++)
            for (int64_t row = 0; row < args->lens[b]; row += NORM_ROWS) {
                int64_t left = args->lens[b] - row, num_rows = left < NORM_ROWS ? left : NORM_ROWS;
                block_moments(num_rows, num, C, args->x + (b * R + row) * C + c, mean, squares);
                join_moments(num, (float)num_rows / (seen + num_rows), seen, mean, squares,
                             args->mean + c, args->squares + c);
                seen += num_rows;
            }
    }
}

/* y = (x - mean) * gain + bias */
struct normalize {
    int64_t N, C;
    const float *x;    /* [N, C] */
    const float *mean; /* [C] */
    const float *gain; /* [C] */
    const float *bias; /* [C] */
    float *y;          /* [N, C] */
};

static void normalize_row(int64_t C, const float *restrict x, const float *restrict mean,
                          const float *restrict gain, const float *restrict bias,
                          float *restrict y) {
    for (int64_t i = 0; i < C; i++) y[i] = (x[i] - mean[i]) * gain[i] + bias[i];
}

void normalize(int64_t first, int64_t last, const struct normalize *args) {
    for (int64_t at = first * args->C; at < last * args->C; at += args->C)
        normalize_row(args->C, args->x + at, args->mean, args->gain, args->bias, args->y + at);
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

/* Over all N rows: the sum of the gradients, and of their products with x - mean. */
struct normalize_sums {
    int64_t C, N;
    const float *grads; /* [N, C] */
    const float *x;     /* [N, C] */
    const float *mean;  /* [C] */
    float *sums;        /* [C] */
    float *products;    /* [C] */
};

void normalize_sums(int64_t first, int64_t last, const struct normalize_sums *args) {
    int64_t N = args->N, C = args->C;
    float sum[NORM_CHANNELS], product[NORM_CHANNELS];
    for (int64_t c = first; c < last; c += NORM_CHANNELS) {
        int64_t num = last - c < NORM_CHANNELS ? last - c : NORM_CHANNELS;
        float *sums = args->sums + c, *products = args->products + c;
        memset(sums, 0, num * sizeof(float));
        memset(products, 0, num * sizeof(float));
        for (int64_t row = 0; row < N; row += NORM_ROWS) {
            block_sums(N - row < NORM_ROWS ? N - row : NORM_ROWS, num, C,
                       args->grads + row * C + c, args->x + row * C + c, args->mean + c, sum,
                       product);
            for (int64_t i = 0; i < num; i++) sums[i] += sum[i], products[i] += product[i];
        }
    }
}

/* The gradients of x; of rows that count, less what goes through the moments:
 * (grad - shared - (x - mean) * slope) * gain. */
struct normalize_backward {
    int64_t B, R, C;
    const int64_t *lens; /* [B], at most R */
    const float *grads;  /* [B, R, C] */
    const float *x;      /* [B, R, C] */
    const float *mean;   /* [C] */
    const float *shared; /* [C] */
    const float *slope;  /* [C] */
    const float *gain;   /* [C] */
    float *x_grads;      /* [B, R, C] */
};

static void normalize_back(int64_t C, const float *restrict grad, const float *restrict x,
                           const float *restrict mean, const float *restrict shared,
                           const float *restrict slope, const float *restrict gain,
                           float *restrict x_grad) {
    for (int64_t i = 0; i < C; i++)
        x_grad[i] = (grad[i] - shared[i] - (x[i] - mean[i]) * slope[i]) * gain[i];
}

static void scale(int64_t C, const float *restrict grad, const float *restrict gain,
                  float *restrict x_grad) {
    for (int64_t i = 0; i < C; i++) x_grad[i] = grad[i] * gain[i];
}

void normalize_backward(int64_t first, int64_t last, const struct normalize_backward *args) {
    int64_t R = args->R, C = args->C;
    for (int64_t b = first; b < last; b++)
        for (int64_t row = 0; row < R; row++) {
            int64_t at = (b * R + row) * C;
            if (row < args->lens[b])
                normalize_back(C, args->grads + at, args->x + at, args->mean, args->shared,
                               args->slope, args->gain, args->x_grads + at);
            else
                scale(C, args->grads + at, args->gain, args->x_grads + at);
        }
}

/* ---- dropout (Srivastava et al. 2014): y = x 2^16 / num_kept where a draw of 16 bits is one of
 * the num_kept least, else 0 (of what is not finite: NaN) ---- */

struct drop {
    int64_t N, num_kept;
    const int16_t *draws; /* [N] */
    const float *x;       /* [N] */
    float *y;             /* [N] */
};

static void drop_range(int64_t num, int64_t num_kept, const int16_t *restrict draws,
                       const float *restrict x, float *restrict y) {
    /* Draws are signed: the least is -32768. A product, not a choice, with 0: NaN must stay. */
    float factor = (float)(65536.0 / num_kept);
    int32_t limit = (int32_t)(num_kept - 32768);
    for (int64_t i = 0; i < num; i++) y[i] = x[i] * (draws[i] < limit ? factor : 0.0f);
}

void drop(int64_t first, int64_t last, const struct drop *args) {
    drop_range(last - first, args->num_kept, args->draws + first, args->x + first, args->y + first);
}

/* ---- e^x - 1 = 2^n (e^r - 1) + (2^n - 1) with |r| <= ln 2 / 2 and a Taylor polynomial of
 * e^r - 1: within 2e-7 of the true value, relative, also near 0. x is clamped to -80 ... 88,
 * infinities too, so that 2^n is a normal float. NaN stays NaN: r is NaN, and n any number. ---- */

/* e^r - 1; `power` becomes 2^n. */
INLINE float reduced(float x, float *power) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -80.0f ? -80.0f : x;
    float n = __builtin_rintf(x * 1.44269504f);
    n = n > -126.0f ? n : -126.0f; /* false for NaN, whose conversion to int is undefined */
    /* ln 2 in two parts (Cody and Waite 1980): of the first, with few bits, n times is exact. */
    float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    /* Horner: p = 1/2! + r/3! + ... + r^5/7!, and e^r - 1 = r + r^2 p. */
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    int32_t bits = ((int32_t)n + 127) * (1 << 23); /* 2^n: its exponent, biased, and no mantissa */
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

/* Both from e^x - 1, of which tanh keeps all digits near 0, where e^x alone would round to 1. */
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

struct rnn_forward {
    int64_t B, T, H, relu;
    const float *weight_hh; /* [H, H], transposed and packed */
    const float *inputs;    /* [B, T, H] */
    float *scratch;         /* [B, H] */
    float *states;          /* [B, T, H] */
};

/* One product per frame for all rows of this thread: frame t of row b follows frame t of row b - 1
 * by T H floats, so the states of a frame are read as a matrix with that stride, without a copy.
 *
 *     states [B, T, H]     b = first        | t - 1 |   t   |
 *                          b = first + 1    | t - 1 |   t   |
 *                                               |       ^
 *                                               U ------'
 */
void rnn_forward(int64_t first, int64_t last, const struct rnn_forward *args) {
    int64_t T = args->T, H = args->H;
    float *states = args->states, *scratch = args->scratch;
    for (int64_t t = 0; t < T; t++) {
        if (t)
            multiply(last - first, states + (first * T + t - 1) * H, T * H, args->weight_hh, H, H,
                     NULL, scratch + first * H, H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = (b * T + t) * H;
            rnn_gates(H, args->relu, args->inputs + at, scratch + b * H, states + at);
        }
    }
}

/* Backwards in time. With a for the argument of tanh, and d for a gradient of the loss:
 *
 *     da[t] = (dh[t] + U^T da[t + 1]) * (1 - h[t]^2)
 *
 * dh[t] is `out`, what the layers above send, and U^T da[t + 1] is `sum`: one product per frame for
 * all rows, as forwards. */
static void rnn_slopes(int64_t H, int64_t relu, const float *restrict out,
                       const float *restrict sum, const float *restrict h, float *restrict grad) {
    if (relu)
        for (int64_t i = 0; i < H; i++) grad[i] = h[i] > 0.0f ? out[i] + sum[i] : 0.0f;
    else
        for (int64_t i = 0; i < H; i++) grad[i] = (out[i] + sum[i]) * (1.0f - h[i] * h[i]);
}

struct rnn_backward {
    int64_t B, T, H, relu;
    const float *weight_hh; /* [H, H], packed */
    const float *out_grads; /* [B, T, H] */
    const float *states;    /* [B, T, H] */
    float *scratch;         /* [B, H] */
    float *grads;           /* [B, T, H]: of the argument of tanh or ReLU */
};

void rnn_backward(int64_t first, int64_t last, const struct rnn_backward *args) {
    int64_t T = args->T, H = args->H;
    float *grads = args->grads, *scratch = args->scratch;
    for (int64_t t = T - 1; t >= 0; t--) {
        if (t < T - 1)
            multiply(last - first, grads + (first * T + t + 1) * H, T * H, args->weight_hh, H, H,
                     NULL, scratch + first * H, H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = (b * T + t) * H;
            rnn_slopes(H, args->relu, args->out_grads + at, scratch + b * H, args->states + at,
                       grads + at);
        }
    }
}

/* ---- GRU as cuDNN has it (Cho et al. 2014, reset after the product):
 * r, z = sigmoid(x + U h); n = tanh(x + r (U h + c)); h' = n + z (h - n) ---- */

static void gru_gates(int64_t H, const float *restrict sum, const float *restrict bias,
                      const float *restrict before, float *restrict gate, float *restrict new_gate,
                      float *restrict h) {
    for (int64_t i = 0; i < H; i++) {
        float r = sigmoid(gate[i] + sum[i]), z = sigmoid(gate[H + i] + sum[H + i]);
        float u = sum[2 * H + i] + bias[i], n = tanh_of(gate[2 * H + i] + r * u);
        h[i] = n + z * (before[i] - n);
        gate[i] = r, gate[H + i] = z, gate[2 * H + i] = u, new_gate[i] = n;
    }
}

struct gru_forward {
    int64_t B, T, H;
    const float *weight_hh; /* [H, 3 H], transposed and packed */
    const float *initial;   /* [B, H] */
    const float *bias;      /* [H]: c */
    float *scratch;         /* [B, 3 H] */
    float *gates;           /* [B, T, 3 H]: x before the call; r, z and U h + c after it */
    float *new_gate;        /* [B, T, H]: n */
    float *states;          /* [B, T, H] */
};

void gru_forward(int64_t first, int64_t last, const struct gru_forward *args) {
    int64_t T = args->T, H = args->H;
    float *states = args->states, *scratch = args->scratch;
    for (int64_t t = 0; t < T; t++) {
        if (t)
            multiply(last - first, states + (first * T + t - 1) * H, T * H, args->weight_hh, H,
                     3 * H, NULL, scratch + first * 3 * H, 3 * H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            gru_gates(H, scratch + b * 3 * H, args->bias,
                      t ? states + (at - 1) * H : args->initial + b * H,
                      args->gates + at * 3 * H,
                      args->new_gate + at * H, states + at * H);
        }
    }
}

/* With u = U h + c, and d for the gradient of h':
 *
 *     n    d (1 - z) (1 - n^2) = dn          z    d (h - n) z (1 - z)
 *     r    dn u r (1 - r)                    u    dn r
 *     h    d z, besides what goes through U: `later`, of the frame after on entry, of this one on
 *          return
 */
static void gru_slopes(int64_t H, const float *restrict out, const float *restrict sum,
                       const float *restrict before, const float *restrict gate,
                       const float *restrict new_gate, float *restrict later, float *restrict grad,
                       float *restrict new_grad) {
    for (int64_t i = 0; i < H; i++) {
        float r = gate[i], z = gate[H + i], n = new_gate[i], d = out[i] + later[i] + sum[i];
        float dn = d * (1.0f - z) * (1.0f - n * n);
        grad[i] = dn * gate[2 * H + i] * r * (1.0f - r);
        grad[H + i] = d * (before[i] - n) * z * (1.0f - z);
        grad[2 * H + i] = dn * r;
        new_grad[i] = dn;
        later[i] = d * z;
    }
}

struct gru_backward {
    int64_t B, T, H;
    const float *weight_hh; /* [3 H, H], packed */
    const float *initial;   /* [B, H] */
    const float *out_grads; /* [B, T, H] */
    const float *states;    /* [B, T, H] */
    const float *new_gate;  /* [B, T, H] */
    const float *gates;     /* [B, T, 3 H] */
    float *scratch;         /* [B, H] */
    float *carry;           /* [B, H]: what z lets through to the frame before; zeros before */
    float *grads;           /* [B, T, 3 H]: of the arguments of r and z, and of U h + c */
    float *new_gate_grads;  /* [B, T, H]: of the argument of n */
};

void gru_backward(int64_t first, int64_t last, const struct gru_backward *args) {
    int64_t T = args->T, H = args->H;
    float *grads = args->grads, *scratch = args->scratch, *carry = args->carry;
    for (int64_t t = T - 1; t >= 0; t--) {
        if (t < T - 1)
            multiply(last - first, grads + (first * T + t + 1) * 3 * H, T * 3 * H, args->weight_hh,
                     3 * H, H, NULL, scratch + first * H, H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            gru_slopes(H, args->out_grads + at * H, scratch + b * H,
                       t ? args->states + (at - 1) * H : args->initial + b * H,
                       args->gates + at * 3 * H,
                       args->new_gate + at * H, carry + b * H, grads + at * 3 * H,
                       args->new_gate_grads + at * H);
        }
    }
}

/* ---- light GRU (Ravanelli et al. 2018), x normalised before:
 * z = sigmoid(x + U h); n = relu(x + U h); h' = n + z (h - n) ---- */

static void light_gru_gates(int64_t H, const float *restrict sum, const float *restrict before,
                            float *restrict gate, float *restrict h) {
    for (int64_t i = 0; i < H; i++) {
        float z = sigmoid(gate[i] + sum[i]), a = gate[H + i] + sum[H + i];
        float n = a < 0.0f ? 0.0f : a; /* NaN stays */
        h[i] = n + z * (before[i] - n);
        gate[i] = z, gate[H + i] = n;
    }
}

struct light_gru_forward {
    int64_t B, T, H;
    const float *weight_hh; /* [H, 2 H], transposed and packed */
    const float *initial;   /* [B, H] */
    float *scratch;         /* [B, 2 H] */
    float *gates;           /* [B, T, 2 H]: x before the call; z and n after it */
    float *states;          /* [B, T, H] */
};

void light_gru_forward(int64_t first, int64_t last, const struct light_gru_forward *args) {
    int64_t T = args->T, H = args->H;
    float *states = args->states, *scratch = args->scratch;
    for (int64_t t = 0; t < T; t++) {
        if (t)
            multiply(last - first, states + (first * T + t - 1) * H, T * H, args->weight_hh, H,
                     2 * H, NULL, scratch + first * 2 * H, 2 * H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            light_gru_gates(H, scratch + b * 2 * H,
                            t ? states + (at - 1) * H : args->initial + b * H,
                            args->gates + at * 2 * H, states + at * H);
        }
    }
}

static void light_gru_slopes(int64_t H, const float *restrict out, const float *restrict sum,
                             const float *restrict before, const float *restrict gate,
                             float *restrict later, float *restrict grad) {
    for (int64_t i = 0; i < H; i++) {
        float z = gate[i], n = gate[H + i], d = out[i] + later[i] + sum[i];
        grad[i] = d * (before[i] - n) * z * (1.0f - z);
        grad[H + i] = n > 0.0f ? d * (1.0f - z) : 0.0f;
        later[i] = d * z;
    }
}

struct light_gru_backward {
    int64_t B, T, H;
    const float *weight_hh; /* [2 H, H], packed */
    const float *initial;   /* [B, H] */
    const float *out_grads; /* [B, T, H] */
    const float *states;    /* [B, T, H] */
    const float *gates;     /* [B, T, 2 H] */
    float *scratch;         /* [B, H] */
    float *carry;           /* [B, H]: what z lets through to the frame before; zeros before */
    float *grads;           /* [B, T, 2 H]: of the arguments of z and n */
};

void light_gru_backward(int64_t first, int64_t last, const struct light_gru_backward *args) {
    int64_t T = args->T, H = args->H;
    float *grads = args->grads, *scratch = args->scratch, *carry = args->carry;
    for (int64_t t = T - 1; t >= 0; t--) {
        if (t < T - 1)
            multiply(last - first, grads + (first * T + t + 1) * 2 * H, T * 2 * H, args->weight_hh,
                     2 * H, H, NULL, scratch + first * H, H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            light_gru_slopes(H, args->out_grads + at * H, scratch + b * H,
                             t ? args->states + (at - 1) * H : args->initial + b * H,
                             args->gates + at * 2 * H, carry + b * H, grads + at * 2 * H);
        }
    }
}

/* ---- linear recurrence of minGRU, minLSTM and QRNN: h' = a h + b, unit by unit. Gates read the
 * input alone, so nothing but this is left for a frame. ---- */

static void linear_frame(int64_t H, const float *restrict decay, const float *restrict input,
                         const float *restrict before, float *restrict h) {
    for (int64_t i = 0; i < H; i++) h[i] = decay[i] * before[i] + input[i];
}

struct linear_forward {
    int64_t B, T, H;
    const float *decays;  /* [B, T, H] */
    const float *inputs;  /* [B, T, H] */
    const float *initial; /* [B, H] */
    float *states;        /* [B, T, H] */
};

void linear_forward(int64_t first, int64_t last, const struct linear_forward *args) {
    int64_t T = args->T, H = args->H;
    for (int64_t b = first; b < last; b++)
        for (int64_t t = 0; t < T; t++) {
            int64_t at = (b * T + t) * H;
            linear_frame(H, args->decays + at, args->inputs + at,
                         t ? args->states + at - H : args->initial + b * H, args->states + at);
        }
}

static void linear_slopes(int64_t H, const float *restrict out, const float *restrict decay,
                          const float *restrict before, float *restrict later,
                          float *restrict decay_grad, float *restrict input_grad) {
    for (int64_t i = 0; i < H; i++) {
        float d = out[i] + later[i];
        decay_grad[i] = d * before[i];
        input_grad[i] = d;
        later[i] = d * decay[i];
    }
}

struct linear_backward {
    int64_t B, T, H;
    const float *decays;    /* [B, T, H] */
    const float *initial;   /* [B, H] */
    const float *states;    /* [B, T, H] */
    const float *out_grads; /* [B, T, H] */
    float *carry;           /* [B, H]: zeros before; the gradient of `initial` after */
    float *decay_grads;     /* [B, T, H] */
    float *input_grads;     /* [B, T, H] */
};

void linear_backward(int64_t first, int64_t last, const struct linear_backward *args) {
    int64_t T = args->T, H = args->H;
    for (int64_t b = first; b < last; b++)
        for (int64_t t = T - 1; t >= 0; t--) {
            int64_t at = (b * T + t) * H;
            linear_slopes(H, args->out_grads + at, args->decays + at,
                          t ? args->states + at - H : args->initial + b * H, args->carry + b * H,
                          args->decay_grads + at, args->input_grads + at);
        }
}

/* ---- simple recurrent unit (Lei et al. 2018): f = sigmoid(x + v c); c' = n + f (c - n), with v
 * for the peephole and n for the new value W x, unit by unit ---- */

static void simple_frame(int64_t H, const float *restrict peephole, const float *restrict new_value,
                         const float *restrict before, float *restrict gate, float *restrict c) {
    for (int64_t i = 0; i < H; i++) {
        float f = sigmoid(gate[i] + peephole[i] * before[i]), n = new_value[i];
        c[i] = n + f * (before[i] - n);
        gate[i] = f;
    }
}

struct simple_forward {
    int64_t B, T, H;
    const float *peephole;   /* [H] */
    const float *new_values; /* [B, T, H] */
    const float *initial;    /* [B, H] */
    float *gates;            /* [B, T, H]: x before the call; f after it */
    float *cells;            /* [B, T, H] */
};

void simple_forward(int64_t first, int64_t last, const struct simple_forward *args) {
    int64_t T = args->T, H = args->H;
    for (int64_t b = first; b < last; b++)
        for (int64_t t = 0; t < T; t++) {
            int64_t at = (b * T + t) * H;
            simple_frame(H, args->peephole, args->new_values + at,
                         t ? args->cells + at - H : args->initial + b * H, args->gates + at,
                         args->cells + at);
        }
}

static void simple_slopes(int64_t H, const float *restrict out, const float *restrict peephole,
                          const float *restrict new_value, const float *restrict gate,
                          const float *restrict before, float *restrict later,
                          float *restrict gate_grad, float *restrict new_grad) {
    for (int64_t i = 0; i < H; i++) {
        float f = gate[i], d = out[i] + later[i];
        float slope = d * (before[i] - new_value[i]) * f * (1.0f - f);
        gate_grad[i] = slope;
        new_grad[i] = d * (1.0f - f);
        later[i] = d * f + slope * peephole[i];
    }
}

struct simple_backward {
    int64_t B, T, H;
    const float *peephole;   /* [H] */
    const float *new_values; /* [B, T, H] */
    const float *initial;    /* [B, H] */
    const float *gates;      /* [B, T, H] */
    const float *cells;      /* [B, T, H] */
    const float *out_grads;  /* [B, T, H] */
    float *carry;            /* [B, H]: zeros before; the gradient of `initial` after */
    float *gate_grads;       /* [B, T, H]: of the argument of f */
    float *new_grads;        /* [B, T, H] */
};

void simple_backward(int64_t first, int64_t last, const struct simple_backward *args) {
    int64_t T = args->T, H = args->H;
    for (int64_t b = first; b < last; b++)
        for (int64_t t = T - 1; t >= 0; t--) {
            int64_t at = (b * T + t) * H;
            simple_slopes(H, args->out_grads + at, args->peephole, args->new_values + at,
                          args->gates + at, t ? args->cells + at - H : args->initial + b * H,
                          args->carry + b * H, args->gate_grads + at, args->new_grads + at);
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

struct lstm_forward {
    int64_t B, T, H;
    const float *weight_hh; /* [H, 4 H], transposed and packed */
    const float *initial;   /* [B, H]: c */
    float *scratch;         /* [B, 4 H] */
    float *gates;           /* [B, T, 4 H]: x before the call; i, f, g and o after it */
    float *cells;           /* [B, T, H]: c */
    float *states;          /* [B, T, H] */
};

void lstm_forward(int64_t first, int64_t last, const struct lstm_forward *args) {
    int64_t T = args->T, H = args->H;
    float *states = args->states, *cells = args->cells, *scratch = args->scratch;
    for (int64_t t = 0; t < T; t++) {
        if (t)
            multiply(last - first, states + (first * T + t - 1) * H, T * H, args->weight_hh, H,
                     4 * H, NULL, scratch + first * 4 * H, 4 * H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            lstm_gates(H, scratch + b * 4 * H,
                       t ? cells + (at - 1) * H : args->initial + b * H,
                       args->gates + at * 4 * H,
                       cells + at * H, states + at * H);
        }
    }
}

/* With d for the gradient of h' and dc for that of c', which comes from h' and, as `later`, from
 * the frame after; on return `later` is what the frame before gets. tanh(c') is computed again: to
 * store it would cost more memory traffic. */
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

struct lstm_backward {
    int64_t B, T, H;
    const float *weight_hh; /* [4 H, H], packed */
    const float *initial;   /* [B, H] */
    const float *out_grads; /* [B, T, H] */
    const float *cells;     /* [B, T, H] */
    const float *gates;     /* [B, T, 4 H] */
    float *scratch;         /* [B, H] */
    float *carry;           /* [B, H]: what f lets through to the frame before */
    float *grads;           /* [B, T, 4 H]: of the arguments of the four gates */
};

void lstm_backward(int64_t first, int64_t last, const struct lstm_backward *args) {
    int64_t T = args->T, H = args->H;
    float *grads = args->grads, *scratch = args->scratch, *carry = args->carry;
    for (int64_t t = T - 1; t >= 0; t--) {
        if (t < T - 1)
            multiply(last - first, grads + (first * T + t + 1) * 4 * H, T * 4 * H, args->weight_hh,
                     4 * H, H, NULL, scratch + first * H, H);
        for (int64_t b = first; b < last; b++) {
            int64_t at = b * T + t;
            lstm_slopes(H, args->out_grads + at * H, scratch + b * H,
                        t ? args->cells + (at - 1) * H : args->initial + b * H,
                        args->cells + at * H,
                        args->gates + at * 4 * H, carry + b * H, grads + at * 4 * H);
        }
    }
}

/* ---- CTC loss (Graves et al. 2006, section 4): all paths that spell a text with blanks between.
 *
 * Legend: U output frames, V symbols, L labels of a text. A path is, at each frame, on one of the L
 * labels or on one of the L + 1 blanks around them. The forward variable alpha sums over the
 * beginnings of paths, beta over their ends; beta is alpha with frames and labels in reverse order.
 * Both are logarithms, at each frame divided by the largest of the frame, so that those that matter
 * are near 0, where floats are dense. A frame's states are stored as
 *
 *     [ IMPOSSIBLE | label 0 ... label L - 1 | blank 0 ... blank L ]      2 L + 2 floats
 *
 * with blank i before label i: so state i is "the label before label i" also for i = 0. ---- */

#define IMPOSSIBLE -1e30f
#define LEAST_EMISSION -1e9f /* stands for all less, the logarithm of 0 too; NaN stays NaN */

/* z + z^3/3 + ... = atanh z with s = 2^k (1 + z) / (1 - z), for s from 1 to 3. k = 1 above 1.5
 * keeps |z| below 0.2, where the first term left out, z^11/11, is below 2e-9. */
INLINE float log_1_to_3(float s) {
    float scale = s > 1.5f ? 0.5f : 1.0f, base = s > 1.5f ? 0.693147181f : 0.0f;
    float z = (s * scale - 1.0f) / (s * scale + 1.0f), q = z * z;
    return base + 2.0f * z * (1.0f + q * (1.0f / 3 + q * (0.2f + q * (1.0f / 7 + q / 9))));
}

/* log(e^a + e^b) = a + log(1 + e^(b - a)) with a the larger: no exponential overflows, and of two
 * IMPOSSIBLE the sum is IMPOSSIBLE, since log 2 is nothing beside it. */
INLINE float log_add(float a, float b) {
    float high = a > b ? a : b, low = a > b ? b : a;
    return high + log_1_to_3(1.0f + exp_of(low - high));
}

INLINE float log_add_3(float a, float b, float c) {
    float high = a > b ? a : b, low = a > b ? b : a;
    float most = c > high ? c : high, rest = c > high ? high : c;
    return most + log_1_to_3(1.0f + exp_of(low - most) + exp_of(rest - most));
}

/* In lanes by hand: a compiler may not reorder a maximum of floats, which may be NaN. */
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

/* The states before the first frame: on blank 0, where every path begins. */
static void ctc_start(int64_t L, float *states) {
    for (int64_t i = 0; i < 2 * L + 2; i++) states[i] = IMPOSSIBLE;
    states[L + 1] = 0.0f;
}

/* From one frame to the next; what the new frame was divided by. A path stays, or goes on to the
 * next state, or leaves out the blank between two different labels:
 *
 *     before    label i - 1    blank i    label i         label i - 1    blank i
 *                      \          \         |                     \          |
 *     now               `----------`---- label i                     `---- blank i
 */
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

/* grads[v] = -(the probability that a path is on symbol v at this frame): beginnings times ends of
 * the paths through each state of v, over the sum of all states. Both factors hold the emission of
 * this frame, so it is divided by once. */
static void ctc_occupancy(int64_t L, int64_t V, int64_t blank, float blank_emission,
                          const int64_t *labels, const float *restrict emitted,
                          const float *restrict alpha, const float *restrict beta,
                          float *restrict joint, float *restrict grads) {
    /* `beta` and `emitted` are in reverse order: label i is label L - 1 - i there, blank i is blank
     * L - i. A label's place in a frame's states is one after its number, a blank's L + 1 after. */
    for (int64_t i = 0; i < L; i++) joint[i] = alpha[i + 1] + beta[L - i] - emitted[L - 1 - i];
    for (int64_t i = 0; i <= L; i++)
        joint[L + i] = alpha[L + 1 + i] + beta[2 * L + 1 - i] - blank_emission;
    /* Scaled by the largest of all: of what the frames were divided by nothing is left to undo. */
    float most = largest(2 * L + 1, joint), total = 0.0f;
    for (int64_t i = 0; i <= 2 * L; i++) joint[i] = exp_of(joint[i] - most);
    for (int64_t i = 0; i < L; i++) grads[labels[i]] += joint[i];
    for (int64_t i = 0; i <= L; i++) grads[blank] += joint[L + i];
    for (int64_t v = 0; v < V; v++) total += grads[v];
    for (int64_t v = 0; v < V; v++) grads[v] /= -total;
}

struct ctc {
    int64_t B, U, V, L, blank; /* L: of the longest text */
    const float *log_probs;     /* [B, U, V] */
    const int64_t *lens;        /* [B], at most U */
    const int64_t *targets;     /* [B, L], below V: symbols */
    const int64_t *target_lens; /* [B], at most L */
    float *alpha;               /* [B, U + 1, 2 L + 2], scratch */
    float *scratch;             /* [B, 5, 2 L + 2] */
    float *losses;              /* [B], in nats; infinite where no path is possible */
    float *grads;               /* [B, U, V], zeros before, or NULL; 0 if a loss is infinite */
};

void ctc(int64_t first, int64_t last, const struct ctc *args) {
    int64_t U = args->U, V = args->V, blank = args->blank, max_states = 2 * args->L + 2;
    for (int64_t b = first; b < last; b++) {
        int64_t T = args->lens[b], L = args->target_lens[b], num_states = 2 * L + 2;
        const int64_t *labels = args->targets + b * args->L;
        const float *log_probs = args->log_probs + b * U * V;
        float *alpha = args->alpha + b * (U + 1) * max_states;
        float *emitted = args->scratch + b * 5 * max_states, *skips = emitted + max_states;
        float *joint = skips + max_states;
        float *beta = joint + max_states, *next_beta = beta + max_states;
        double log_prob = 0; /* of what the frames were divided by; in float64, as it adds up */
        ctc_start(L, alpha);
        ctc_skips(L, labels, 1, skips);
        for (int64_t t = 0; t < T; t++, alpha += num_states) {
            ctc_emit(L, log_probs + t * V, labels, 1, emitted);
            log_prob += ctc_step(L, emission(log_probs[t * V + blank]), emitted, skips, alpha,
                                 alpha + num_states);
        }
        /* A path ends on the last label or on the blank after it. One that does not fit, or needs a
         * symbol of probability 0, has a term of IMPOSSIBLE or LEAST_EMISSION: far below others.
         */
        log_prob += log_add(alpha[L], alpha[2 * L + 1]);
        int impossible = log_prob < 0.5 * LEAST_EMISSION;
        args->losses[b] = impossible ? __builtin_inff() : (float)-log_prob;
        if (!args->grads || impossible) continue;

        /* Backwards, alpha goes down frame by frame, and beta needs only the frame after. Labels
         * are read from the last one back, so that the step is the one of alpha. */
        const int64_t *last_label = L ? labels + L - 1 : labels;
        ctc_start(L, beta);
        ctc_skips(L, last_label, -1, skips);
        for (int64_t t = T - 1; t >= 0; t--, alpha -= num_states) {
            float blank_emission = emission(log_probs[t * V + blank]);
            ctc_emit(L, log_probs + t * V, last_label, -1, emitted);
            ctc_step(L, blank_emission, emitted, skips, beta, next_beta);
            ctc_occupancy(L, V, blank, blank_emission, labels, emitted, alpha, next_beta, joint,
                          args->grads + (b * U + t) * V);
            float *swap = beta;
            beta = next_beta, next_beta = swap;
        }
    }
}
