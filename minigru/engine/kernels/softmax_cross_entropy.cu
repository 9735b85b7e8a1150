// The loss and its gradient as one kernel, run by one block: each thread takes every THREADS-th row of the batch.
// Macros: REAL (float or double), LABEL (the integer type of the labels) and THREADS (a power of two).

extern "C" __global__ void softmax_cross_entropy(
    const REAL* logits,   // (B, K)
    const LABEL* labels,  // (B,)
    const REAL* share,    // (B,), w / B
    REAL* dlogits,        // (B, K)
    REAL* loss,           // one number, in nats
    int B, int K)
{
    __shared__ REAL sums[THREADS];
    REAL sum_of_losses = 0;
    for (int n = threadIdx.x; n < B; n += THREADS) {
        const REAL* l = logits + (long long)n * K;
        REAL* dl = dlogits + (long long)n * K;
        REAL highest = l[0], sum = 0;
        for (int k = 1; k < K; ++k)
            highest = l[k] > highest ? l[k] : highest;
        for (int k = 0; k < K; ++k)
            sum += exp(l[k] - highest);
        const REAL log_sum = log(sum);
        const LABEL label = labels[n];
        const REAL part = share[n];
        for (int k = 0; k < K; ++k) {
            const REAL s = l[k] - highest;  // (S1)
            const REAL log_p = s - log_sum;  // (S2)
            const REAL y = k == label;
            sum_of_losses -= part * y * log_p;  // (S3)
            dl[k] = (exp(log_p) - y) * part;  // (dS)
        }
    }
    sums[threadIdx.x] = sum_of_losses;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0)
        loss[0] = sums[0];
}
