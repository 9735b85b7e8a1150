// The recurrence of the GRU as one persistent kernel: one launch runs all T steps forward, and one runs them backward.
// The recurrent weights are read once and stay in registers (Diamos et al. 2016, "Persistent RNNs: Stashing Recurrent
// Weights On-Chip", ICML). docs/gpu.md derives both kernels from the equations.
//
// Samples are independent, so each block takes SAMPLES of them through all steps and waits for no other block.
// Each thread keeps a tile of each of the three recurrent weights, the arrays U_u = W_u[:H], U_r and U_c, in registers.
// What changes from step to step is in shared memory. A thread alternates between two roles, with a barrier between
// them:
//   - in a product it multiplies its tiles: ROWS terms of the sum for each of COLUMNS elements of the result;
//   - between products it owns one element [s][j]: it adds up the sum for that element and computes the elementwise
//     part of the equations.
// A slice is a group of threads that hold the same ROWS rows of them; GROUP is the number of threads in it.
//
// Macros: REAL (float or double), ROWS and COLUMNS of a tile, WIDTH (H rounded up to a multiple of ROWS * COLUMNS) and
// SAMPLES (at most WIDTH / (ROWS * COLUMNS), so that each element has a thread). Elements beyond H or B are zero.

constexpr int SLICES = WIDTH / ROWS, GROUP = WIDTH / COLUMNS, THREADS = SLICES * GROUP;

typedef REAL Tile[ROWS][COLUMNS];
typedef REAL State[SAMPLES][WIDTH];
typedef REAL Sums[SLICES][SAMPLES][WIDTH];  // [p][s][j]: the terms of slice p in the sum for element [s][j]

__device__ REAL sigmoid(REAL z)
{
    return (1 + tanh(z / 2)) / 2;  // (F3)
}

// Load this thread's tile of U (down = H, across = 1), or of its transpose (down = 1, across = H).
__device__ void load(Tile& w, const REAL* U, int H, int down, int across)
{
#pragma unroll
    for (int row = 0; row < ROWS; ++row)
#pragma unroll
        for (int column = 0; column < COLUMNS; ++column) {
            const int k = threadIdx.x / GROUP * ROWS + row, j = threadIdx.x % GROUP + column * GROUP;
            w[row][column] = k < H && j < H ? U[k * down + j * across] : 0;
        }
}

// Store this thread's terms of the product of the row `state[s]` and the matrix that `w` is a tile of.
__device__ void multiply(const State& state, const Tile& w, Sums& sums, int s)
{
    const int slice = threadIdx.x / GROUP;
    REAL sum[COLUMNS] = {};
#pragma unroll
    for (int row = 0; row < ROWS; ++row)
#pragma unroll
        for (int column = 0; column < COLUMNS; ++column)
            sum[column] += state[s][slice * ROWS + row] * w[row][column];
#pragma unroll
    for (int column = 0; column < COLUMNS; ++column)
        sums[slice][s][threadIdx.x % GROUP + column * GROUP] = sum[column];
}

// Return element [s][j] of a product, once all threads have stored their terms.
__device__ REAL total(const Sums& sums, int s, int j)
{
    REAL sum = 0;
    for (int p = 0; p < SLICES; ++p)
        sum += sums[p][s][j];
    return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS) gru_forward(
    const REAL* W,    // (3, H + D + 1, H): W_u, W_r and W_c, of which the kernel reads the first H rows
    const REAL* c_0,  // (B, H), or null for zeros
    REAL* c,          // (T + 1, B, H)
    REAL* gates,      // (3, T, B, H): gamma_u, gamma_r and c_tilde; on entry what x and b add to z_u, z_r and z_c
    REAL* rc,         // (T, B, H)
    int T, int B, int D, int H, long long all)  // all is T B H; the product would take registers
{
    const long long step = (long long)B * H, block = (H + D + 1LL) * H;
    const REAL *U_u = W, *U_r = W + block, *U_c = W + 2 * block;
    REAL *gamma_u = gates, *gamma_r = gates + all, *c_tilde = gates + 2 * all;
    __shared__ __align__(16) State c_all, rc_all;
    __shared__ Sums sums_u, sums_r;
    Sums& sums_c = sums_u;  // free again: the totals of sums_u are taken before the product with U_c
    Tile w_u, w_r, w_c;
    load(w_u, U_u, H, H, 1);
    load(w_r, U_r, H, H, 1);
    load(w_c, U_c, H, H, 1);

    const int s = threadIdx.x / WIDTH, j = threadIdx.x % WIDTH, b = blockIdx.x * SAMPLES + s;
    const bool mine = s < SAMPLES && b < B && j < H;
    long long i = (long long)b * H + j;  // element [t][b][j]
    REAL c_prev = mine && c_0 ? c_0[i] : 0, from_x_u = 0, from_x_r = 0, from_x_c = 0, u = 0;
    if (mine)
        c[i] = c_prev;
    if (s < SAMPLES) {
        c_all[s][j] = c_prev;
        rc_all[s][j] = 0;
    }
    __syncthreads();

    for (int t = 0; t < T; ++t, i += step) {
        if (mine) {  // load early, so that global-memory latency overlaps the products
            from_x_u = gamma_u[i];
            from_x_r = gamma_r[i];
            from_x_c = c_tilde[i];
        }
        for (int n = 0; n < SAMPLES; ++n) {
            multiply(c_all, w_u, sums_u, n);  // c_prev U_u
            multiply(c_all, w_r, sums_r, n);  // c_prev U_r
        }
        __syncthreads();
        if (mine) {
            const REAL z_u = from_x_u + total(sums_u, s, j);
            gamma_u[i] = u = sigmoid(z_u);  // (G1)
            const REAL z_r = from_x_r + total(sums_r, s, j);
            const REAL r = gamma_r[i] = sigmoid(z_r);  // (G2)
            rc[i] = rc_all[s][j] = r * c_prev;  // (G3)
        }
        __syncthreads();
        for (int n = 0; n < SAMPLES; ++n)
            multiply(rc_all, w_c, sums_c, n);  // rc U_c
        __syncthreads();
        if (mine) {
            const REAL z_c = from_x_c + total(sums_c, s, j);
            const REAL tilde = c_tilde[i] = tanh(z_c);  // (G3)
            c[i + step] = c_all[s][j] = c_prev + u * (tilde - c_prev);  // (G4) (F4)
            c_prev = c_all[s][j];
        }
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) gru_backward(
    const REAL* W, const REAL* c, const REAL* gates, const REAL* rc,  // as the forward kernel has left them
    const REAL* dlast, const REAL* dstates,                           // (B, H) and (T, B, H), or null for zeros
    REAL* dz,                                                         // (3, T, B, H): dz_u, dz_r and dz_c
    REAL* dc_0,                                                       // (B, H)
    int T, int B, int D, int H, long long all)  // all is T B H; the product would take registers
{
    const long long step = (long long)B * H, block = (H + D + 1LL) * H;
    const REAL *U_u = W, *U_r = W + block, *U_c = W + 2 * block;
    const REAL *gamma_u = gates, *gamma_r = gates + all, *c_tilde = gates + 2 * all;
    REAL *dz_u = dz, *dz_r = dz + all, *dz_c = dz + 2 * all;
    __shared__ __align__(16) State dz_u_all, dz_r_all, dz_c_all;
    __shared__ Sums sums_u, sums_c;
    Sums& sums_r = sums_u;  // free again: the totals of sums_u are taken before the product with U_r
    Tile w_u, w_r, w_c;
    load(w_u, U_u, H, 1, H);
    load(w_r, U_r, H, 1, H);
    load(w_c, U_c, H, 1, H);

    const int s = threadIdx.x / WIDTH, j = threadIdx.x % WIDTH, b = blockIdx.x * SAMPLES + s;
    const bool mine = s < SAMPLES && b < B && j < H;
    long long i = (long long)b * H + j;  // element [t][b][j]
    REAL dc = mine && dlast ? dlast[i] : 0;
    if (s < SAMPLES)
        dz_u_all[s][j] = dz_r_all[s][j] = dz_c_all[s][j] = 0;
    i += (T - 1) * step;
    REAL u = 0, r = 0, tilde = 0, c_prev = 0, rc_i = 0, from_outside = 0;
    const auto load_step = [&] {
        u = gamma_u[i];
        r = gamma_r[i];
        tilde = c_tilde[i];
        c_prev = c[i];
        rc_i = rc[i];
        if (dstates)
            from_outside = dstates[i];
    };
    if (mine)
        load_step();

    for (int t = T - 1; t >= 0; --t) {
        REAL dc_prev = 0;
        if (mine) {
            dc = dc + from_outside;
            dz_u[i] = dz_u_all[s][j] = dc * (tilde - c_prev) * u * (1 - u);  // (dG4) (dG1)
            dz_c[i] = dz_c_all[s][j] = dc * u * (1 - tilde * tilde);  // (dG4) (dG3)
            dc_prev = dc * (1 - u);  // (dG4)
        }
        __syncthreads();
        for (int n = 0; n < SAMPLES; ++n) {
            multiply(dz_u_all, w_u, sums_u, n);  // dz_u U_u^T
            multiply(dz_c_all, w_c, sums_c, n);  // dz_c U_c^T
        }
        __syncthreads();
        if (mine) {
            const REAL drc = total(sums_c, s, j);  // (dG3)
            dz_r[i] = dz_r_all[s][j] = drc * rc_i * (1 - r);  // (dG3) (dG2)
            dc_prev = dc_prev + drc * r;  // (dG3)
            dc_prev = dc_prev + total(sums_u, s, j);  // (dG1)
            i -= step;
            if (t > 0)  // load early, as in the forward kernel
                load_step();
        }
        __syncthreads();
        for (int n = 0; n < SAMPLES; ++n)
            multiply(dz_r_all, w_r, sums_r, n);  // dz_r U_r^T
        __syncthreads();
        if (mine)
            dc = dc_prev + total(sums_r, s, j);  // (dG2)
    }
    if (mine)
        dc_0[(long long)b * H + j] = dc;
}
