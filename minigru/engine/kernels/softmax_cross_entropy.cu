// The loss and its gradient in one kernel, run by one block: a thread takes every THREADS-th row of the batch.
// Compiled with REAL (float or double), LABEL (the integer type of the labels) and THREADS (a power of two).

extern "C" __global__ void softmax_cross_entropy(
    const REAL* logits,   // (B, K)
    const LABEL* labels,  // (B,)
    REAL* dlogits,        // (B, K)
    REAL* loss,           // one number, in nats
    int B, int K)
{
    __shared__ REAL sums[THREADS];
    REAL nats = 0;
    for (int i = threadIdx.x; i < B; i += THREADS) {
        const REAL* row = logits + (long long)i * K;
        REAL* drow = dlogits + (long long)i * K;
        REAL highest = row[0], sum = 0;
        for (int k = 1; k < K; ++k)
            highest = row[k] > highest ? row[k] : highest;
        for (int k = 0; k < K; ++k)
            sum += exp(row[k] - highest);  // (S1)
        const REAL log_sum = log(sum);
        const LABEL label = labels[i];
        for (int k = 0; k < K; ++k) {
            const REAL log_p = row[k] - highest - log_sum;  // (S1) (S2)
            const REAL y = k == label;
            nats -= y * log_p;               // (S3)
            drow[k] = (exp(log_p) - y) / B;  // (dS)
        }
    }
    sums[threadIdx.x] = nats;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0)
        loss[0] = sums[0] / B;  // (S3)
}
