"""What an exercise says in words: hints, tasks, and equations that would otherwise be the line of code itself."""

HINTS = {
    "R1": "[a_prev, x] is concat(a_prev, x), and W s on paper is s @ W here.",
    "G1": "[c_prev, x] is concat(c_prev, x), W s on paper is s @ W here, and sigmoid is there already.",
    "G2": "As (G1), with the weights of the reset gate.",
    "G3": "The reset gate scales the memory before the product: concat the scaled memory and x.",
    "G4": "gamma_u and 1 - gamma_u are the two weights of the mean, elementwise.",
    "G6": "One elementwise product: inside has the shape (B, 1) and is broadcast.",
    "L1": "A row is a sample, so the weight stands on the right of x.",
    "S1": "max(axis=1, keepdims=True) has the shape (B, 1); .real before it lets a complex step pass.",
    "S2": "log_p is s minus the logarithm of a sum over the classes, for each sample: axis=1, keepdims=True.",
    "S3": "y is 1 at the right class and 0 elsewhere, so the sum of y * log_p picks one element per sample.",
    "dL1": "ds = W^T dz, dW = dz s^T, db = dz for one sample, a column; here rows, summed over the batch.",
    "dS": "Differentiate -sum(y * log_p): the softmax exp(log_p) minus the one-hot y, weighed and averaged.",
    "dR1": "tanh' = 1 - tanh^2; then the transposed weight sends dz_a to [a_prev, x], which split takes apart.",
    "dRW": "The affine rule: what the weight met in the forward pass, transposed, times dz_a; a sum for the bias.",
    "dG4": "(G4) is elementwise: differentiate it with respect to gamma_u, c_tilde and c_prev in turn.",
    "dG3": "Three rules in turn: tanh' = 1 - tanh^2; the affine rule; the product rule for rc = gamma_r * c_prev. "
    "c_prev has a term from (dG4) already: add to it.",
    "dG2": "sigmoid' = sigmoid (1 - sigmoid); then the transposed weight sends dz_r to [c_prev, x].",
    "dG1": "As (dG2), from dgamma_u of (dG4) and with the weights of the update gate.",
    "dGW": "For each weight: what it met in the forward pass, transposed, times its dz. W_c met [gamma_r * c_prev, x].",
    "P1": "As (G1), with the weights of the gate that keeps.",
    "P2": "As (G2).",
    "P3": "U_c multiplies the memory alone. The reset gate scales q elementwise, and V_c multiplies x.",
    "P4": "As (G4), but gamma_k is the weight of the old memory.",
    "dP4": "(P4) is elementwise: differentiate it with respect to gamma_k, c_tilde and c_prev in turn.",
    "dP3": "Three rules in turn: tanh' = 1 - tanh^2; the product rule for gamma_r * q; the affine rule, for V_c x and "
    "for q. c_prev has a term from (dP4) already: add to it.",
    "dP2": "sigmoid' = sigmoid (1 - sigmoid); then the transposed weight sends dz_r to [c_prev, x].",
    "dP1": "As (dP2), from dgamma_k of (dP4) and with the weights of the gate that keeps.",
    "dPW": "For each weight: what it met in the forward pass, transposed, times the gradient of the affine map it is "
    "in. For U_c and b_q this is dq, for all others a dz.",
    "A1": "A running mean: keep beta1 of the old value and take 1 - beta1 of the new.",
    "A2": "As (A1), of the square of the gradient, with beta2.",
    "A3": "Started at zero, m is too small by the factor 1 - beta1^t: divide by it.",
    "A4": "As (A3), with beta2.",
    "A5": "Against the gradient: subtract lr times m_hat over the square root of v_hat, with eps outside of the root.",
    "gru_cell": "Write (G1), (G2), (G3) and (G4), in this order. inside multiplies gamma_u.",
    "gru_cell_backward": "Go through gru_cell from its last line to its first. Four of its lines read c_prev, and "
    "three read x: their gradients are sums.",
    "bptt": "Go from the last step to the first. The gradient of a state is that from above, dstates[t], plus what the "
    "step after it sends back. The weights are the same at all steps, so their gradients add up.",
    "peephole": "Begin with gru_cell and gru_cell_backward of minigru/reference.py. v_u * c_prev is an elementwise "
    "product: it sends one term to v_u, summed over the batch, and one more to c_prev.",
    "reset_after": "Give U_c c_prev + d_c a name. The gate multiplies it elementwise, so dgamma_r needs no product "
    "before it. U_c and d_c are inside this name: their gradients come from its gradient, those of V_c and b_c from "
    "dz_c.",
    "two_layers": "Backward goes from the top down: the dx of the layer above is the dstates of the layer below.",
    "one_product": "Put the rows of all steps below each other: reshape (T, B, n) to (T B, n).",
    "in_place": "gamma_u * c_tilde + (1 - gamma_u) * c_prev = c_prev + gamma_u * (c_tilde - c_prev).",
    "barrier": "Look for an array in shared memory that one loop writes and the product behind it reads, with nothing "
    "between them.",
    "barriers": "A barrier is needed between a write into shared memory and a read of it by another thread. Registers "
    "need none, nor does global memory that a thread alone reads.",
    "tile": "multiply still reads state[s][slice * ROWS + row]. Which element meets row `row` of the tile now?",
}
TASKS = {
    "gru_cell": """\
The equations, columns on paper and rows here:

    gamma_u = sigmoid(W_u [c_prev, x] + b_u)  (G1)
    gamma_r = sigmoid(W_r [c_prev, x] + b_r)  (G2)
    c_tilde = tanh(W_c [gamma_r * c_prev, x] + b_c)  (G3)
    c = gamma_u * c_tilde + (1 - gamma_u) * c_prev  (G4)

inside multiplies gamma_u between (G1) and (G4).
""",
    "gru_cell_backward": """\
Given dc, go through `gru_cell` of minigru/reference.py from its last line to its first. Return dx, dc_prev and a dict
grads with the keys W_u, b_u, W_r, b_r, W_c and b_c. They are graded by the complex step too, which knows `gru_cell`
alone.
""",
    "bptt": """\
Backpropagation through time. dstates (T, B, H) has for each step the gradient of its state from above, that is, from
the loss or the next layer; caches has one cache per step. cell_backward(dc, cache) goes back through one step: given
the whole gradient dc (B, H) of its state, it returns dx (B, D), dc_prev (B, H) and a dict of gradients of the
parameters.
Return dx (T, B, D), the gradient of the state before the first step (B, H), and the dict for the whole sequence.
""",
    "barrier": "One barrier is missing in this file. A barrier, __syncthreads(), makes the threads of a block wait for "
    "each other: without it a thread may read shared memory before another has written it. Put the barrier back.",
    "barriers": "One barrier in this file is not needed, and costs time in each step. Remove it.",
    "tile": "In the function load, a thread now takes every SLICES-th row of U, and no longer ROWS consecutive rows. "
    "Let the function multiply follow.",
}
IN_WORDS = {  # where the equation on paper is the line of code itself
    "G4": "the new memory c is a mean of c_tilde and c_prev, weighted by gamma_u: 1 takes c_tilde, 0 keeps c_prev",
    "G6": "gamma_u is closed where the sequence has ended: inside is 1 while it goes on and 0 behind its end",
    "P4": "the new memory c is a mean of c_prev and c_tilde, weighted by gamma_k: 1 keeps c_prev, 0 takes c_tilde",
    "A1": "m is the running mean of the gradient g: it keeps a share beta1 of its old value",
    "A2": "v is the running mean of the square of g: it keeps a share beta2 of its old value",
    "A3": "m_hat corrects m for its start at zero: after t steps the weights of the mean add up to 1 - beta1^t",
    "A4": "v_hat corrects v as m_hat corrects m, with beta2",
    "A5": "theta goes lr against m_hat, divided elementwise by the square root of v_hat plus eps",
}
BACKWARD = "dname is the gradient of the loss with respect to name, and has the shape of name.\n"
OF_SLOPES = "{z} is what {f} is applied to in the equation of {W}{more}."
OF_RESET = "rc is gamma_r * c_prev."
OF_TERMS = "A name such as dx_r is the term of dx that comes from this equation."
OF_WEIGHTS = "W s on paper is s @ W here."
FORWARD = "\nW s on paper is s @ W here: a row is a sample.\n"
