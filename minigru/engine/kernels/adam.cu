// One step of Adam over the flat vector, a thread for each parameter. Macros: REAL (float or double).

extern "C" __global__ void adam(
    const REAL* g, REAL* theta, REAL* m, REAL* v,  // (N,)
    REAL beta1, REAL rest1, REAL beta2, REAL rest2, REAL correction2, REAL eps, REAL rate,
    long long N)
{
    const long long i = (long long)blockIdx.x * 256 + threadIdx.x;
    if (i >= N)
        return;
    m[i] = beta1 * m[i] + rest1 * g[i];  // (A1)
    v[i] = beta2 * v[i] + rest2 * (g[i] * g[i]);  // (A2)
    const REAL v_hat = v[i] / correction2;  // (A4)
    theta[i] = theta[i] - rate * (m[i] / (sqrt(v_hat) + eps));  // (A3) (A5)
}
