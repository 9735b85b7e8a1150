// Matrix products, each in one launch with what the equations do before and after it: the layers around the recurrence,
// and the recurrence of a GRU whose weights do not fit into the registers of one block, in two launches per time step.
//
// A block computes a tile of the result, SIDE rows by SIDE columns. It goes along the sums DEPTH terms at a time: all
// threads load a piece of both factors into shared memory, then each thread multiplies for EACH by EACH elements.
// docs/gpu.md explains the tiles. Indices: i is a row, j a column, k a term of the sum.
//
// Macros: REAL (float or double), THREADS (of a block) and SIDE. The 1 in __launch_bounds__ gives a thread more
// registers than NVRTC would by itself, which spills some.

constexpr int ACROSS = 16, DOWN = THREADS / ACROSS, DEPTH = 32, LOADS = SIDE * DEPTH / THREADS;
constexpr int EACH = SIDE / ACROSS;  // also SIDE / DOWN
static_assert(ACROSS == DOWN, "the threads of a block are a square");

// The factors of EACH by EACH neighbours are loaded together. + EACH: a column is spread over the banks, too.
struct Pieces {
    __align__(16) REAL left[DEPTH][SIDE + EACH], right[DEPTH][SIDE + EACH];
};

// Where the neighbours of an element in memory are: along the sum (k), or beside it (i or j). Neighbouring threads load
// neighbours.
enum Neighbours { ALONG, BESIDE };

// Of the n-th number of a piece that this thread loads: which term of the sum it belongs to, and which row or column.
template <Neighbours WHERE>
__device__ int term(int n)
{
    const int m = n * THREADS + threadIdx.x;
    return WHERE == ALONG ? m % DEPTH : m / SIDE;
}

template <Neighbours WHERE>
__device__ int line(int n)
{
    const int m = n * THREADS + threadIdx.x;
    return WHERE == ALONG ? m / DEPTH : m % SIDE;
}

// Into how many tiles a length is divided.
__device__ int parts(int length)
{
    return (length + SIDE - 1) / SIDE;
}

__device__ long long at(int row, int width, int column)
{
    return (long long)row * width + column;
}

// Compute one tile of a product with this many rows and columns. Each element is a sum of `terms` terms, left(i, k) *
// right(k, j), and is handed to done(i, j, sum).
template <Neighbours LEFT, Neighbours RIGHT, typename Left, typename Right, typename Done>
__device__ void product(Pieces& pieces, int tile, int rows, int terms, int columns, Left left, Right right, Done done)
{
    const int i_0 = tile / parts(columns) * SIDE, j_0 = tile % parts(columns) * SIDE;
    const int row = threadIdx.x / ACROSS * EACH, column = threadIdx.x % ACROSS * EACH;  // this thread's first element
    REAL sum[EACH][EACH] = {}, next_left[LOADS], next_right[LOADS];
    const auto load = [&](int k_0) {
#pragma unroll
        for (int n = 0; n < LOADS; ++n) {
            const int i = i_0 + line<LEFT>(n), k = k_0 + term<LEFT>(n);
            next_left[n] = i < rows && k < terms ? left(i, k) : 0;
        }
#pragma unroll
        for (int n = 0; n < LOADS; ++n) {
            const int j = j_0 + line<RIGHT>(n), k = k_0 + term<RIGHT>(n);
            next_right[n] = j < columns && k < terms ? right(k, j) : 0;
        }
    };
    load(0);
    for (int k_0 = 0; k_0 < terms; k_0 += DEPTH) {
#pragma unroll
        for (int n = 0; n < LOADS; ++n) {
            pieces.left[term<LEFT>(n)][line<LEFT>(n)] = next_left[n];
            pieces.right[term<RIGHT>(n)][line<RIGHT>(n)] = next_right[n];
        }
        __syncthreads();
        load(k_0 + DEPTH);  // early, so that the latency of global memory overlaps the arithmetic
        for (int k = 0; k < DEPTH; ++k)
#pragma unroll
            for (int a = 0; a < EACH; ++a)
#pragma unroll
                for (int b = 0; b < EACH; ++b)
                    sum[a][b] += pieces.left[k][row + a] * pieces.right[k][column + b];
        __syncthreads();
    }
#pragma unroll
    for (int a = 0; a < EACH; ++a)
#pragma unroll
        for (int b = 0; b < EACH; ++b) {
            const int i = i_0 + row + a, j = j_0 + column + b;
            if (i < rows && j < columns)
                done(i, j, sum[a][b]);
        }
}

__device__ REAL sigmoid(REAL z)
{
    return (1 + tanh(z / 2)) / 2;  // (F3)
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) affine(
    const REAL* x,  // (B, n)
    const REAL* W,  // (n + 1, m), whose last row is b
    REAL* y,        // (B, m)
    int B, int n, int m)
{
    __shared__ Pieces pieces;
    product<ALONG, BESIDE>(
        pieces, blockIdx.x, B, n + 1, m,
        [&](int i, int k) { return k < n ? x[at(i, n, k)] : 1; },
        [&](int k, int j) { return W[at(k, m, j)]; },
        [&](int i, int j, REAL sum) {
            y[at(i, m, j)] = sum;  // (L1)
        });
}

// The first blocks compute dx, and the others dW with db.
extern "C" __global__ void __launch_bounds__(THREADS, 1) affine_backward(
    const REAL* dy,  // (B, m)
    const REAL* x,   // (B, n)
    const REAL* W,   // (n + 1, m)
    REAL* dx,        // (B, n)
    REAL* dW,        // (n + 1, m), whose last row is db
    int B, int n, int m)
{
    __shared__ Pieces pieces;
    const int tiles = parts(B) * parts(n);
    if (blockIdx.x < tiles)
        product<ALONG, ALONG>(
            pieces, blockIdx.x, B, m, n,
            [&](int i, int k) { return dy[at(i, m, k)]; },
            [&](int k, int j) { return W[at(j, m, k)]; },
            [&](int i, int j, REAL sum) {
            dx[at(i, n, j)] = sum;  // (dL1)
        });
    else
        product<BESIDE, BESIDE>(
            pieces, blockIdx.x - tiles, n + 1, B, m,
            [&](int i, int k) { return i < n ? x[at(k, n, i)] : 1; },
            [&](int k, int j) { return dy[at(k, m, j)]; },
            [&](int i, int j, REAL sum) {
            dW[at(i, m, j)] = sum;  // (dL1)
        });
}

// What the inputs and the biases add to z_u, z_r and z_c, a third of the blocks for each. A row is a step of a sample.
extern "C" __global__ void __launch_bounds__(THREADS, 1) gru_inputs(
    const REAL* __restrict__ x,  // (T, B, D)
    const REAL* W,  // (3, H + D + 1, H): W_u, W_r and W_c, of which the last row is the bias
    REAL* __restrict__ x1,       // (T, B, D + 1), [x, 1]
    REAL* z,        // (3, T, B, H)
    int T, int B, int D, int H,
    int x_step, int x_sample)  // how many elements of x are from one step to the next, and from one sample to the next
{
    __shared__ Pieces pieces;
    const int tiles = parts(T * B) * parts(H), gate = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    const bool keeps = gate == 0 && tile % parts(H) == 0;  // its blocks read each element of x once
    W += ((H + D + 1LL) * gate + H) * H;
    z += (long long)gate * T * B * H;
    product<ALONG, BESIDE>(
        pieces, tile, T * B, D + 1, H,
        [&](int row, int k) {
            const REAL value = k < D ? x[row / B * (long long)x_step + row % B * (long long)x_sample + k] : 1;
            if (keeps)
                x1[at(row, D + 1, k)] = value;
            return value;
        },
        [&](int k, int j) { return W[at(k, H, j)]; },
        [&](int row, int j, REAL sum) {
            z[at(row, H, j)] = sum;  // (G1) (G2) (G3) (F1) (F5)
        });
}

// The gradients of the weight blocks, a third of the blocks for each: [c_prev, x, 1], for W_c [rc, x, 1], transposed,
// times dz.
extern "C" __global__ void __launch_bounds__(THREADS, 1) gru_weight_gradients(
    const REAL* c, const REAL* rc, const REAL* x1,  // (T + 1, B, H), (T, B, H) and (T, B, D + 1)
    const REAL* dz,                                 // (3, T, B, H)
    REAL* dW,                                       // (3, H + D + 1, H)
    int T, int B, int D, int H)
{
    __shared__ Pieces pieces;
    const int tiles = parts(H + D + 1) * parts(H), gate = blockIdx.x / tiles;
    const REAL* memory = gate == 2 ? rc : c;
    dz += (long long)gate * T * B * H;
    dW += (H + D + 1LL) * gate * H;
    product<BESIDE, BESIDE>(
        pieces, blockIdx.x % tiles, H + D + 1, T * B, H,
        [&](int i, int row) { return i < H ? memory[at(row, H, i)] : x1[at(row, D + 1, i - H)]; },
        [&](int row, int j) { return dz[at(row, H, j)]; },
        [&](int i, int j, REAL sum) {
            dW[at(i, H, j)] = sum;  // (dGW) (F1) (F2) (F5)
        });
}

// Step t forward, first launch: both gates, half of the blocks for each. Arrays are those of gru_persistent.cu.
extern "C" __global__ void __launch_bounds__(THREADS, 1) gru_gates(
    const REAL* W, const REAL* c_0, REAL* c, REAL* gates, REAL* rc, int T, int B, int D, int H, int t)
{
    __shared__ Pieces pieces;
    const int tiles = parts(B) * parts(H), gate = blockIdx.x / tiles;
    const long long start = (long long)t * B * H;
    const REAL* U = W + (H + D + 1LL) * gate * H;
    const auto c_prev = [&](long long n) { return t > 0 ? c[start + n] : c_0 ? c_0[n] : 0; };
    REAL* gamma = gates + (long long)gate * T * B * H;
    product<ALONG, BESIDE>(
        pieces, blockIdx.x % tiles, B, H, H,
        [&](int b, int k) { return c_prev(at(b, H, k)); },
        [&](int k, int j) { return U[at(k, H, j)]; },
        [&](int b, int j, REAL sum) {
            const long long n = at(b, H, j), i = start + n;
            const REAL z = gamma[i] + sum;
            gamma[i] = sigmoid(z);  // (G1) (G2)
            if (gate == 1)
                rc[i] = gamma[i] * c_prev(n);  // (G3)
            else if (t == 0)
                c[n] = c_prev(n);
        });
}

// Step t forward, second launch: the candidate and the new memory.
extern "C" __global__ void __launch_bounds__(THREADS, 1) gru_memory(
    const REAL* W, REAL* c, REAL* gates, const REAL* rc, int T, int B, int D, int H, int t)
{
    __shared__ Pieces pieces;
    const long long step = (long long)B * H, start = t * step;
    const REAL *U_c = W + 2 * (H + D + 1LL) * H, *gamma_u = gates;
    REAL* c_tilde = gates + 2 * T * step;
    product<ALONG, BESIDE>(
        pieces, blockIdx.x, B, H, H,
        [&](int b, int k) { return rc[start + at(b, H, k)]; },
        [&](int k, int j) { return U_c[at(k, H, j)]; },
        [&](int b, int j, REAL sum) {
            const long long i = start + at(b, H, j);
            const REAL z_c = c_tilde[i] + sum;
            c_tilde[i] = tanh(z_c);  // (G3)
            c[i + step] = c[i] + gamma_u[i] * (c_tilde[i] - c[i]);  // (G4) (F4)
        });
}

// Step t backward, first launch: from dc through the memory cell, the candidate and the reset gate.
extern "C" __global__ void __launch_bounds__(THREADS, 1) gru_candidate_backward(
    const REAL* W, const REAL* c, const REAL* gates, const REAL* rc,
    const REAL* dc_next, const REAL* dstates,  // (B, H) and (T, B, H), whose sum is dc; either is null for zeros
    REAL* dz,
    REAL* kept,  // (B, H), the terms of dc_prev from (dG4) and (dG3)
    int T, int B, int D, int H, int t)
{
    __shared__ Pieces pieces;
    const long long step = (long long)B * H, start = t * step;
    const REAL* U_c = W + 2 * (H + D + 1LL) * H;
    const REAL *gamma_u = gates, *gamma_r = gates + T * step, *c_tilde = gates + 2 * T * step;
    REAL *dz_u = dz, *dz_r = dz + T * step, *dz_c = dz + 2 * T * step;
    const auto dc_at = [&](long long n) { return (dc_next ? dc_next[n] : 0) + (dstates ? dstates[start + n] : 0); };
    const auto dz_c_at = [&](long long n) {
        const REAL u = gamma_u[start + n], tilde = c_tilde[start + n];
        return dc_at(n) * u * (1 - tilde * tilde);  // (dG4) (dG3)
    };
    product<ALONG, ALONG>(
        pieces, blockIdx.x, B, H, H,
        [&](int b, int k) { return dz_c_at(at(b, H, k)); },
        [&](int k, int j) { return U_c[at(j, H, k)]; },
        [&](int b, int j, REAL drc) {  // (dG3)
            const long long n = at(b, H, j), i = start + n;
            const REAL dc = dc_at(n), u = gamma_u[i], r = gamma_r[i];
            dz_u[i] = dc * (c_tilde[i] - c[i]) * u * (1 - u);  // (dG4) (dG1)
            dz_c[i] = dz_c_at(n);
            dz_r[i] = drc * rc[i] * (1 - r);  // (dG3) (dG2)
            kept[n] = dc * (1 - u) + drc * r;  // (dG4) (dG3)
        });
}

// Step t backward, second launch: through the products of both gates. The sums have 2 H terms.
extern "C" __global__ void __launch_bounds__(THREADS, 1) gru_gates_backward(
    const REAL* W, const REAL* dz, const REAL* kept,
    REAL* dc,  // (B, H), dc of the step before
    int T, int B, int D, int H, int t)
{
    __shared__ Pieces pieces;
    const long long step = (long long)B * H;
    const REAL *U_u = W, *U_r = W + (H + D + 1LL) * H, *dz_u = dz + t * step, *dz_r = dz + (T + t) * step;
    product<ALONG, ALONG>(
        pieces, blockIdx.x, B, 2 * H, H,
        [&](int b, int k) { return k < H ? dz_u[at(b, H, k)] : dz_r[at(b, H, k - H)]; },
        [&](int k, int j) { return k < H ? U_u[at(j, H, k)] : U_r[at(j, H, k - H)]; },
        [&](int b, int j, REAL sum) {
            dc[at(b, H, j)] = kept[at(b, H, j)] + sum;  // (dG1) (dG2)
        });
}
