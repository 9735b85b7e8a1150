// The recurrence of the GRU as one kernel: a single launch forward, and a single one backward, for a whole sequence.
//
// Samples never meet, so a block takes SAMPLES of them from the first step to the last and waits for no other block.
// Each thread keeps a tile of the three recurrent matrices U = W[:H] in its registers for all T steps; what changes from
// step to step is in shared memory. A thread works in two ways in turn, with a barrier between them:
//   - in a product it multiplies its tile: it takes ROWS terms of the sums of COLUMNS elements of the result;
//   - between products it owns one element [s][j] of the memory, adds up that element's sums, and does what the
//     equations do elementwise.
// Compiled with REAL (float or double), ROWS and COLUMNS of a tile, WIDTH (H, rounded up to a multiple of ROWS * COLUMNS)
// and SAMPLES (at most WIDTH / (ROWS * COLUMNS), so that there is a thread for each element). What lies beyond H or B
// counts as zero. docs/gpu.md walks through it.

constexpr int SLICES = WIDTH / ROWS, GROUP = WIDTH / COLUMNS, THREADS = SLICES * GROUP;

typedef REAL Tile[ROWS][COLUMNS];
typedef REAL State[SAMPLES][WIDTH];
typedef REAL Sums[SLICES][SAMPLES][WIDTH];  // [p][s][j]: the terms of slice p in the sum for element [s][j]

// Fill this thread's tile of U, or of its transpose with down = 1 and across = H.
__device__ void load(Tile& w, const REAL* U, int H, int down, int across)
{
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
#pragma unroll
        for (int n = 0; n < COLUMNS; ++n) {
            const int k = threadIdx.x / GROUP * ROWS + r, j = threadIdx.x % GROUP + n * GROUP;
            w[r][n] = k < H && j < H ? U[k * down + j * across] : 0;
        }
}

// This thread's terms in the product of the row `state[s]` with the matrix that `w` is a tile of.
__device__ void multiply(const State& state, const Tile& w, Sums& sums, int s)
{
    const int slice = threadIdx.x / GROUP;
    REAL sum[COLUMNS] = {};
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
#pragma unroll
        for (int n = 0; n < COLUMNS; ++n)
            sum[n] += state[s][slice * ROWS + r] * w[r][n];
#pragma unroll
    for (int n = 0; n < COLUMNS; ++n)
        sums[slice][s][threadIdx.x % GROUP + n * GROUP] = sum[n];
}

// Element [s][j] of a product, once every thread has left its terms.
__device__ REAL total(const Sums& sums, int s, int j)
{
    REAL z = 0;
    for (int p = 0; p < SLICES; ++p)
        z += sums[p][s][j];
    return z;
}

extern "C" __global__ void __launch_bounds__(THREADS) gru_forward(
    const REAL* U_u, const REAL* U_r, const REAL* U_c,  // (H, H)
    REAL* c,                                            // (T + 1, B, H), of which c[0] is given
    REAL* gamma_u, REAL* gamma_r, REAL* c_tilde,        // (T, B, H); come in as what x and b give to z_u, z_r, z_c
    REAL* rc,                                           // (T, B, H)
    int T, int B, int H)
{
    __shared__ __align__(16) State c_all, rc_all;
    __shared__ Sums sums_u, sums_r;
    Sums& sums_c = sums_u;  // by then the totals of sums_u have been taken
    Tile w_u, w_r, w_c;
    load(w_u, U_u, H, H, 1);
    load(w_r, U_r, H, H, 1);
    load(w_c, U_c, H, H, 1);

    const int s = threadIdx.x / WIDTH, j = threadIdx.x % WIDTH, b = blockIdx.x * SAMPLES + s;
    const bool mine = s < SAMPLES && b < B && j < H;
    const long long step = (long long)B * H;
    long long i = (long long)b * H + j;  // element [t][b][j]
    REAL c_prev = mine ? c[i] : 0, z_u = 0, z_r = 0, z_c = 0;
    if (s < SAMPLES) {
        c_all[s][j] = c_prev;
        rc_all[s][j] = 0;
    }
    __syncthreads();

    for (int t = 0; t < T; ++t, i += step) {
        if (mine) {  // asked for early: the memory answers while the products are computed
            z_u = gamma_u[i];
            z_r = gamma_r[i];
            z_c = c_tilde[i];
        }
        for (int n = 0; n < SAMPLES; ++n) {
            multiply(c_all, w_u, sums_u, n);  // (G1)
            multiply(c_all, w_r, sums_r, n);  // (G2)
        }
        __syncthreads();
        if (mine) {
            gamma_u[i] = z_u = (1 + tanh((z_u + total(sums_u, s, j)) / 2)) / 2;  // (G1) (F3)
            gamma_r[i] = z_r = (1 + tanh((z_r + total(sums_r, s, j)) / 2)) / 2;  // (G2) (F3)
            rc[i] = rc_all[s][j] = z_r * c_prev;  // (G3)
        }
        __syncthreads();
        for (int n = 0; n < SAMPLES; ++n)
            multiply(rc_all, w_c, sums_c, n);  // (G3)
        __syncthreads();
        if (mine) {
            c_tilde[i] = z_c = tanh(z_c + total(sums_c, s, j));  // (G3)
            c_prev = c_prev + z_u * (z_c - c_prev);  // (G4) (F4)
            c[i + step] = c_all[s][j] = c_prev;
        }
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) gru_backward(
    const REAL* U_u, const REAL* U_r, const REAL* U_c,                                         // (H, H)
    const REAL* c,                                                                             // (T + 1, B, H)
    const REAL* gamma_u, const REAL* gamma_r, const REAL* c_tilde, const REAL* rc,             // (T, B, H)
    const REAL* dstates, int every_state,  // (T, B, H), read only where every_state is not 0
    REAL* dz_u, REAL* dz_r, REAL* dz_c,    // (T, B, H)
    REAL* dc,                              // (B, H), the gradient of the last memory, then that of the first
    int T, int B, int H)
{
    __shared__ __align__(16) State dz_u_all, dz_r_all, dz_c_all;
    __shared__ Sums sums_u, sums_c;
    Sums& sums_r = sums_u;  // by then the totals of sums_u have been taken
    Tile w_u, w_r, w_c;
    load(w_u, U_u, H, 1, H);
    load(w_r, U_r, H, 1, H);
    load(w_c, U_c, H, 1, H);

    const int s = threadIdx.x / WIDTH, j = threadIdx.x % WIDTH, b = blockIdx.x * SAMPLES + s;
    const bool mine = s < SAMPLES && b < B && j < H;
    const long long step = (long long)B * H;
    long long i = (long long)b * H + j;
    REAL d = mine ? dc[i] : 0;
    if (s < SAMPLES)
        dz_u_all[s][j] = dz_r_all[s][j] = dz_c_all[s][j] = 0;
    i += (T - 1) * step;

    for (int t = T - 1; t >= 0; --t, i -= step) {
        REAL r = 0, reset = 0;
        if (mine) {
            const REAL u = gamma_u[i], tilde = c_tilde[i];
            r = gamma_r[i];
            reset = rc[i];
            if (every_state)
                d = d + dstates[i];
            dz_u[i] = dz_u_all[s][j] = d * (tilde - c[i]) * u * (1 - u);     // (dG4) (dG1)
            dz_c[i] = dz_c_all[s][j] = d * u * (1 - tilde * tilde);          // (dG4) (dG3)
            d = d * (1 - u);                                                 // (dG4)
        }
        __syncthreads();
        for (int n = 0; n < SAMPLES; ++n) {
            multiply(dz_u_all, w_u, sums_u, n);  // (dG1)
            multiply(dz_c_all, w_c, sums_c, n);  // (dG3)
        }
        __syncthreads();
        if (mine) {
            const REAL drc = total(sums_c, s, j);                            // (dG3)
            dz_r[i] = dz_r_all[s][j] = drc * reset * (1 - r);                // (dG3) (dG2)
            d = d + drc * r + total(sums_u, s, j);                           // (dG3) (dG1)
        }
        __syncthreads();
        for (int n = 0; n < SAMPLES; ++n)
            multiply(dz_r_all, w_r, sums_r, n);  // (dG2)
        __syncthreads();
        if (mine)
            d = d + total(sums_r, s, j);  // (dG2)
    }
    if (mine)
        dc[(long long)b * H + j] = d;
}
