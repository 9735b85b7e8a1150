// One step of Adam over the flat vector, a thread for each parameter.
// Macros: REAL (float or double) and THREADS (of a block).

extern "C" __global__ void adam(
    const REAL* g, REAL* theta, REAL* m, REAL* v,  // (N,)
    REAL beta1, REAL rest1, REAL beta2, REAL rest2, REAL correction2, REAL eps, REAL rate,
    long long N)
{
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (i >= N)
        return;
    const REAL g_i = g[i], m_prev = m[i], v_prev = v[i], theta_prev = theta[i];
    const REAL m_i = m[i] = beta1 * m_prev + rest1 * g_i;  // (A1)
    const REAL v_i = v[i] = beta2 * v_prev + rest2 * (g_i * g_i);  // (A2)
    const REAL v_hat = v_i / correction2;  // (A4)
    theta[i] = theta_prev - rate * (m_i / (sqrt(v_hat) + eps));  // (A3) (A5)
}
