// SPDX-License-Identifier: BSD-3-Clause
// Printed by lossmatrix.engines.cpu.generate from the losses' methods; do not edit.
#pragma once

namespace LOSSMATRIX_ISA {

struct formula_40fe0bdcdc5f : Defaults<formula_40fe0bdcdc5f> {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool linear = true, zero_at_p0 = true, only_target = true;
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp;
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]);
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q;
    }
};

struct formula_64e1734aa492 : Defaults<formula_64e1734aa492> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool linear = true, zero_at_p0 = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q;
    }
};

struct formula_2aaacd055071 : Defaults<formula_2aaacd055071> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool linear = true, expensive_grad = true, zero_at_p0 = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p / (k.q);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
};

struct formula_6521feb40de1 : Defaults<formula_6521feb40de1> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool linear = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.c[0];
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.c[0] * k.q;
    }
};

struct formula_74bca7f6b43e : Defaults<formula_74bca7f6b43e> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool has_margin = true, linear = true, zero_at_p0 = true, only_target = true;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return k.c[0];
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[0]) * k.c[0] + V(-1.0) * V(a[0]) * k.lp;
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]);
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q;
    }
};

struct formula_3d2808d6f005 : Defaults<formula_3d2808d6f005> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool has_margin = true, linear = true, zero_at_p0 = true, only_target = true;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return log(k.c[0]);
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp;
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]);
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q;
    }
};

struct formula_32e236e86d15 : Defaults<formula_32e236e86d15> {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool zero_at_p0 = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p;
        out[1] = V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p;
        out[1] = V(-1.0) * k.lp;
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p + V(-1.0) * f[1];
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q + V(-1.0) * f[1] * k.q;
    }
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return V(a[0]) * power(t[0], V(a[1])) * t[1];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(a[0]) * t[1] * weigh(V(a[1]), power(t[0], V(-1.0) + V(a[1])));
        out[1] = V(a[0]) * power(t[0], V(a[1]));
    }
};

struct formula_9f8806bbb741 : Defaults<formula_9f8806bbb741> {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool zero_at_p0 = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p;
        out[1] = V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p;
        out[1] = V(-1.0) * k.lp;
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p + V(-1.0) * f[1];
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q + V(-1.0) * f[1] * k.q;
    }
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return V(a[0]) * power(t[0], V(a[1])) * t[1];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(0);
        out[1] = V(a[0]) * power(t[0], V(a[1]));
    }
};

struct formula_d112e1bb5f32 : Defaults<formula_d112e1bb5f32> {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool expensive_grad = true, top_costs = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]);
        out[1] = k.p * k.tc[0];
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) * k.q;
    }
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return V(a[0]) * log1p(t[0]) / (V(a[1])) + V(a[0]) * t[1];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(a[0]) / (V(a[1]) * group(V(1.0) + t[0]));
        out[1] = V(a[0]);
    }
};

struct formula_2ba1f113b5ab : Defaults<formula_2ba1f113b5ab> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool linear = true, zero_at_p0 = true, risk = true, excess = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-0.5) * V(a[0]) * k.p * k.x;
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(0.5) * V(a[0]) * k.c[0] + V(0.5) * V(a[0]) * k.q * k.x;
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(-0.5) * V(a[0]) * k.p * k.x + k.p * k.r;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-0.5) * V(a[0]) * k.p * k.q * k.x + k.p * k.q * k.r;
    }
    template <class V, class T>
    static INLINE V risk_grad(const Cell<V>& k, const T* a, const V* f) {
        return V(-0.5) * V(a[0]) * k.p;
    }
    template <class V, class T>
    static INLINE V risk_grad_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(0.5) * V(a[0]) * k.q;
    }
};

struct formula_54969cec2bfb : Defaults<formula_54969cec2bfb> {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool linear = true, zero_at_p0 = true, risk = true;
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return k.p * k.r;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return k.p * k.q * k.r;
    }
};

struct formula_c3d9bb8dcac9 : Defaults<formula_c3d9bb8dcac9> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool has_margin = true, linear = true, zero_at_p0 = true, decisions = true, excess = true;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(-1.0) * k.c[0] / (V(a[1])) + V(-1.0) * k.x / (V(a[1]));
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * V(a[1]) * k.lz * k.p + V(-1.0) * V(a[0]) * k.p * k.x;
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.p * k.x;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.p * k.q * k.x;
    }
    template <class V, class T>
    static INLINE V risk_grad(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * k.g / (V(a[1]));
    }
};

struct formula_90fcb70449e0 : Defaults<formula_90fcb70449e0> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool linear = true, zero_at_p0 = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp + V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) + V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q + V(a[1]) * k.c[0] * k.p * k.q;
    }
};

struct formula_59017a23a136 : Defaults<formula_59017a23a136> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool linear = true, expensive_grad = true, zero_at_p0 = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[1]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp + V(-1.0) * V(a[1]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p / (k.q);
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) + V(a[1]) * k.c[0] * k.p / (k.q);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q + V(a[1]) * k.c[0] * k.p;
    }
};

struct formula_f909a1412027 : Defaults<formula_f909a1412027> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool linear = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[1]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp + V(-1.0) * V(a[1]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[1]) * k.c[0];
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) + V(-1.0) * V(a[1]) * k.c[0];
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[1]) * k.c[0] * k.q;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q + V(-1.0) * V(a[1]) * k.c[0] * k.q;
    }
};

struct formula_c658824b1c1c : Defaults<formula_c658824b1c1c> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool linear = true, zero_at_p0 = true, risk = true, excess = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-0.5) * V(a[1]) * k.p * k.x;
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp + V(0.5) * V(a[1]) * k.c[0] + V(0.5) * V(a[1]) * k.q * k.x;
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(-0.5) * V(a[1]) * k.p * k.x + k.p * k.r;
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) + V(-0.5) * V(a[1]) * k.p * k.x + k.p * k.r;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-0.5) * V(a[1]) * k.p * k.q * k.x + k.p * k.q * k.r;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q + V(-0.5) * V(a[1]) * k.p * k.q * k.x + k.p * k.q * k.r;
    }
    template <class V, class T>
    static INLINE V risk_grad(const Cell<V>& k, const T* a, const V* f) {
        return V(-0.5) * V(a[1]) * k.p;
    }
    template <class V, class T>
    static INLINE V risk_grad_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(0.5) * V(a[1]) * k.q;
    }
};

struct formula_7094d34cc4ea : Defaults<formula_7094d34cc4ea> {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool linear = true, zero_at_p0 = true, risk = true;
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp;
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return k.p * k.r;
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) + k.p * k.r;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return k.p * k.q * k.r;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q + k.p * k.q * k.r;
    }
};

struct formula_fab582acf62f : Defaults<formula_fab582acf62f> {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool linear = true, soft = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.t, k.lp);
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.t;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q * k.t;
    }
};

struct formula_1c26e7ba8b07 : Defaults<formula_1c26e7ba8b07> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool linear = true, zero_at_p0 = true, soft = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q;
    }
};

struct formula_e86047f63286 : Defaults<formula_e86047f63286> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool linear = true, soft = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.t, k.lp) + V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.t + V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q * k.t + V(a[1]) * k.c[0] * k.p * k.q;
    }
};

struct formula_4413ca97811a : Defaults<formula_4413ca97811a> {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool linear = true, soft = true, risk = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.t, k.lp);
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.t + k.p * k.r;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q * k.t + k.p * k.q * k.r;
    }
};

struct curvature_baeecdfac9ef {
    static constexpr int totals = 1, bent = 0, streams = 0;
    static constexpr bool tilted = false, linear = true, flat = true, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(0);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]);
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
    }
};

struct curvature_e892d446c4b3 {
    static constexpr int totals = 1, bent = 0, streams = 1;
    static constexpr bool tilted = false, linear = true, flat = false, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q * k.q + V(-1.0) * V(a[0]) * k.c[0] * k.p * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q * k.q + V(-1.0) * V(a[0]) * k.c[0] * k.p * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
    }
};

struct curvature_c4259058038a {
    static constexpr int totals = 1, bent = 0, streams = 1;
    static constexpr bool tilted = false, linear = true, flat = false, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p / (k.q);
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p / (k.q) + V(a[0]) * k.c[0] * k.p * k.p / (k.q * k.q);
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p / (k.q);
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p / (k.q) + V(a[0]) * k.c[0] * k.p * k.p / (k.q * k.q);
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
    }
};

struct curvature_1d593e5deb74 {
    static constexpr int totals = 1, bent = 0, streams = 1;
    static constexpr bool tilted = false, linear = true, flat = true, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.c[0] * k.q;
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.c[0];
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.c[0] * k.q;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.c[0];
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
    }
};

struct curvature_193bf2e586c6 {
    static constexpr int totals = 1, bent = 0, streams = 1;
    static constexpr bool tilted = true, linear = true, flat = true, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return k.c[0];
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(0);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return k.c[0];
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[0]) * k.c[0] + V(-1.0) * V(a[0]) * k.lp;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]);
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
    }
};

struct curvature_fdc430f57c86 {
    static constexpr int totals = 1, bent = 0, streams = 1;
    static constexpr bool tilted = true, linear = true, flat = true, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return log(k.c[0]);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(0);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]);
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
    }
};

struct curvature_5884fc4121f8 {
    static constexpr int totals = 2, bent = 2, streams = 1;
    static constexpr bool tilted = false, linear = false, flat = false, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p;
        out[1] = V(0);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q * k.q + V(-1.0) * f[0] * k.c[0] * k.p * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p * k.q;
        out[1] = V(0);
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p;
        out[1] = V(0);
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p;
        out[1] = V(-1.0) * k.lp;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q + V(-1.0) * f[1] * k.q;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q * k.q + V(-1.0) * f[0] * k.c[0] * k.p * k.p * k.q + f[1] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p + V(-1.0) * f[1];
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p * k.q;
        out[1] = V(-1.0) * k.q;
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p;
        out[1] = V(-1.0);
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(a[0]) * t[1] * weigh(V(a[1]), power(t[0], V(-1.0) + V(a[1])));
        out[1] = V(a[0]) * power(t[0], V(a[1]));
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
        out[0] = V(a[0]) * t[1] * weigh(V(-1.0) * V(a[1]) + V(a[1]) * V(a[1]), power(t[0], V(-2.0) + V(a[1])));
        out[1] = V(a[0]) * weigh(V(a[1]), power(t[0], V(-1.0) + V(a[1])));
        out[2] = V(a[0]) * weigh(V(a[1]), power(t[0], V(-1.0) + V(a[1])));
        out[3] = V(0);
    }
};

struct curvature_b06cb05714c1 {
    static constexpr int totals = 2, bent = 0, streams = 1;
    static constexpr bool tilted = false, linear = false, flat = false, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p;
        out[1] = V(0);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q * k.q + V(-1.0) * f[0] * k.c[0] * k.p * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = k.c[0] * k.p;
        out[1] = V(-1.0) * k.lp;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q + V(-1.0) * f[1] * k.q;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p * k.q * k.q + V(-1.0) * f[0] * k.c[0] * k.p * k.p * k.q + f[1] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p + V(-1.0) * f[1];
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(0);
        out[1] = V(a[0]) * power(t[0], V(a[1]));
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
    }
};

struct curvature_371933ddbeb4 {
    static constexpr int totals = 2, bent = 1, streams = 1;
    static constexpr bool tilted = false, linear = false, flat = false, top_costs = true;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]);
        out[1] = k.p * k.tc[0];
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) * k.q + f[1] * k.p * k.q * k.tc[0];
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) * k.p * k.q + f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) * k.q * k.q + f[1] * k.p * k.q * k.q * k.tc[0] + V(-1.0) * f[1] * k.p * k.p * k.q * k.tc[0];
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) + f[1] * k.p * k.tc[0];
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) + f[1] * k.p * k.tc[0];
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
        out[0] = growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) * k.q;
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
        out[0] = growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]);
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]);
        out[1] = k.p * k.tc[0];
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) * k.q + f[1] * k.p * k.q * k.tc[0];
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) * k.p * k.q + f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) * k.q * k.q + f[1] * k.p * k.q * k.q * k.tc[0] + V(-1.0) * f[1] * k.p * k.p * k.q * k.tc[0];
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) + f[1] * k.p * k.tc[0];
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) + f[1] * k.p * k.tc[0];
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) * k.q;
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]);
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(a[0]) / (V(a[1]) * group(V(1.0) + t[0]));
        out[1] = V(a[0]);
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) / (V(a[1]) * group(V(1.0) + t[0]) * group(V(1.0) + t[0]));
    }
};

struct curvature_9a0dfcc4860a {
    static constexpr int totals = 1, bent = 0, streams = 1;
    static constexpr bool tilted = false, linear = true, flat = false, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p * k.q * k.q + V(-1.0) * V(a[1]) * k.c[0] * k.p * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp + V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q + V(a[1]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.p * k.q + V(a[1]) * k.c[0] * k.p * k.q * k.q + V(-1.0) * V(a[1]) * k.c[0] * k.p * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) + V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
    }
};

struct curvature_16c511c46774 {
    static constexpr int totals = 1, bent = 0, streams = 1;
    static constexpr bool tilted = false, linear = true, flat = false, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[1]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p / (k.q);
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p / (k.q) + V(a[1]) * k.c[0] * k.p * k.p / (k.q * k.q);
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp + V(-1.0) * V(a[1]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q + V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.p * k.q + V(a[1]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) + V(a[1]) * k.c[0] * k.p / (k.q);
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p / (k.q) + V(a[1]) * k.c[0] * k.p * k.p / (k.q * k.q);
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
    }
};

struct curvature_dbd3a57f50b1 {
    static constexpr int totals = 1, bent = 0, streams = 1;
    static constexpr bool tilted = false, linear = true, flat = true, top_costs = false;
    template <class V, class T>
    static INLINE V margin(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[1]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[1]) * k.c[0] * k.q;
    }
    template <class V, class T>
    static INLINE V second(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[1]) * k.c[0];
    }
    template <class V, class T>
    static INLINE V bend(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void slopes(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE V margin_truth(const Cell<V>& k, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp + V(-1.0) * V(a[1]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q + V(-1.0) * V(a[1]) * k.c[0] * k.q;
    }
    template <class V, class T>
    static INLINE V second_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.p * k.q + V(a[1]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) + V(-1.0) * V(a[1]) * k.c[0];
    }
    template <class V, class T>
    static INLINE V bend_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void slopes_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void pulls_truth(const Cell<V>& k, const T* a, V* out) {
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
    template <class V, class T>
    static INLINE void second_partials(const V* t, const T* a, V* out) {
    }
};

}  // namespace LOSSMATRIX_ISA

#define LOSSMATRIX_FORMULAS(each) each(formula_40fe0bdcdc5f, formula_40fe0bdcdc5f) each(formula_64e1734aa492, formula_64e1734aa492) each(formula_2aaacd055071, formula_2aaacd055071) each(formula_6521feb40de1, formula_6521feb40de1) each(formula_74bca7f6b43e, formula_74bca7f6b43e) each(formula_3d2808d6f005, formula_3d2808d6f005) each(formula_32e236e86d15, formula_32e236e86d15) each(formula_9f8806bbb741, formula_9f8806bbb741) each(formula_d112e1bb5f32, formula_d112e1bb5f32) each(formula_2ba1f113b5ab, formula_2ba1f113b5ab) each(formula_54969cec2bfb_c3d9bb8dcac9, formula_54969cec2bfb, formula_c3d9bb8dcac9) each(formula_54969cec2bfb, formula_54969cec2bfb) each(formula_c3d9bb8dcac9, formula_c3d9bb8dcac9) each(formula_90fcb70449e0, formula_90fcb70449e0) each(formula_59017a23a136, formula_59017a23a136) each(formula_f909a1412027, formula_f909a1412027) each(formula_c658824b1c1c, formula_c658824b1c1c) each(formula_7094d34cc4ea_c3d9bb8dcac9, formula_7094d34cc4ea, formula_c3d9bb8dcac9) each(formula_7094d34cc4ea, formula_7094d34cc4ea) each(formula_fab582acf62f, formula_fab582acf62f) each(formula_1c26e7ba8b07, formula_1c26e7ba8b07) each(formula_e86047f63286, formula_e86047f63286) each(formula_4413ca97811a_c3d9bb8dcac9, formula_4413ca97811a, formula_c3d9bb8dcac9) each(formula_4413ca97811a, formula_4413ca97811a)
#define LOSSMATRIX_CURVATURES(each) each(curvature_baeecdfac9ef) each(curvature_e892d446c4b3) each(curvature_c4259058038a) each(curvature_1d593e5deb74) each(curvature_193bf2e586c6) each(curvature_fdc430f57c86) each(curvature_5884fc4121f8) each(curvature_b06cb05714c1) each(curvature_371933ddbeb4) each(curvature_9a0dfcc4860a) each(curvature_16c511c46774) each(curvature_dbd3a57f50b1)
