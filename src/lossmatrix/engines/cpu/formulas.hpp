// SPDX-License-Identifier: BSD-3-Clause
// Printed by lossmatrix.engines.cpu.generate from the losses' methods; do not edit.
#pragma once

namespace LOSSMATRIX_ISA {

struct formula_e58a3e0934fc : Defaults<formula_e58a3e0934fc> {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool one_visit = true, zero_at_p0 = true, only_target = true;
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

struct formula_47d3f4496818 : Defaults<formula_47d3f4496818> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool one_visit = true, zero_at_p0 = true;
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

struct formula_dcf363e2f1cf : Defaults<formula_dcf363e2f1cf> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool one_visit = true, expensive_grad = true, zero_at_p0 = true;
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

struct formula_166181880599 : Defaults<formula_166181880599> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool one_visit = true;
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

struct formula_d3ab1ba0fe5d : Defaults<formula_d3ab1ba0fe5d> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool has_margin = true, one_visit = true, zero_at_p0 = true, only_target = true;
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

struct formula_6b8e238caa4c : Defaults<formula_6b8e238caa4c> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool has_margin = true, one_visit = true, zero_at_p0 = true, only_target = true;
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

struct formula_55aa3cf8bc3f : Defaults<formula_55aa3cf8bc3f> {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool one_visit = true, zero_at_p0 = true;
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
        return k.c[0] * k.p;
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
    static INLINE V row_factor(const V* f) {
        return f[0];
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

struct formula_04458a406dbe : Defaults<formula_04458a406dbe> {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool one_visit = true, zero_at_p0 = true;
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
        return k.c[0] * k.p;
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
    static INLINE V row_factor(const V* f) {
        return f[0];
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

struct formula_891667925fff : Defaults<formula_891667925fff> {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool one_visit = true, expensive_grad = true, top_costs = true;
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]);
        out[1] = k.p * k.tc[0];
    }
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]);
    }
    template <class V, class T>
    static INLINE V grad_term_truth(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * growth(k.p, k.lp, V(a[1]) * k.c[0] + V(-1.0) * V(a[1]) * k.tc[0]) * k.q;
    }
    template <class V, class T>
    static INLINE V row_factor(const V* f) {
        return f[0];
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

struct formula_7521b6973fbf : Defaults<formula_7521b6973fbf> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool one_visit = true, zero_at_p0 = true, risk = true, excess = true;
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

struct formula_c50088c90d41 : Defaults<formula_c50088c90d41> {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool one_visit = true, zero_at_p0 = true, risk = true;
    template <class V, class T>
    static INLINE V grad_term(const Cell<V>& k, const T* a, const V* f) {
        return k.p * k.r;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return k.p * k.q * k.r;
    }
};

struct formula_967d7e2e6f99 : Defaults<formula_967d7e2e6f99> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool has_margin = true, one_visit = true, zero_at_p0 = true, decisions = true, excess = true;
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

struct formula_593f74d2f460 : Defaults<formula_593f74d2f460> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool one_visit = true, zero_at_p0 = true;
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

struct formula_f6f6d14f71c4 : Defaults<formula_f6f6d14f71c4> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool one_visit = true, expensive_grad = true, zero_at_p0 = true;
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

struct formula_19f37289985e : Defaults<formula_19f37289985e> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool one_visit = true;
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

struct formula_7c45f280fce0 : Defaults<formula_7c45f280fce0> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool one_visit = true, zero_at_p0 = true, risk = true, excess = true;
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

struct formula_ed335be5d38b : Defaults<formula_ed335be5d38b> {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool one_visit = true, zero_at_p0 = true, risk = true;
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

struct formula_33a15ae04e26 : Defaults<formula_33a15ae04e26> {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool one_visit = true, soft = true;
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

struct formula_dfa8475c1b78 : Defaults<formula_dfa8475c1b78> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool one_visit = true, zero_at_p0 = true, soft = true;
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

struct formula_9c5b9a79b288 : Defaults<formula_9c5b9a79b288> {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool one_visit = true, soft = true;
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

struct formula_f4b1476ca591 : Defaults<formula_f4b1476ca591> {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool one_visit = true, soft = true, shares = true, risk = true;
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

#define LOSSMATRIX_FORMULAS(each) each(formula_e58a3e0934fc, formula_e58a3e0934fc) each(formula_47d3f4496818, formula_47d3f4496818) each(formula_dcf363e2f1cf, formula_dcf363e2f1cf) each(formula_166181880599, formula_166181880599) each(formula_d3ab1ba0fe5d, formula_d3ab1ba0fe5d) each(formula_6b8e238caa4c, formula_6b8e238caa4c) each(formula_55aa3cf8bc3f, formula_55aa3cf8bc3f) each(formula_04458a406dbe, formula_04458a406dbe) each(formula_891667925fff, formula_891667925fff) each(formula_7521b6973fbf, formula_7521b6973fbf) each(formula_c50088c90d41_967d7e2e6f99, formula_c50088c90d41, formula_967d7e2e6f99) each(formula_c50088c90d41, formula_c50088c90d41) each(formula_967d7e2e6f99, formula_967d7e2e6f99) each(formula_593f74d2f460, formula_593f74d2f460) each(formula_f6f6d14f71c4, formula_f6f6d14f71c4) each(formula_19f37289985e, formula_19f37289985e) each(formula_7c45f280fce0, formula_7c45f280fce0) each(formula_ed335be5d38b_967d7e2e6f99, formula_ed335be5d38b, formula_967d7e2e6f99) each(formula_ed335be5d38b, formula_ed335be5d38b) each(formula_33a15ae04e26, formula_33a15ae04e26) each(formula_dfa8475c1b78, formula_dfa8475c1b78) each(formula_9c5b9a79b288, formula_9c5b9a79b288) each(formula_f4b1476ca591_967d7e2e6f99, formula_f4b1476ca591, formula_967d7e2e6f99) each(formula_f4b1476ca591, formula_f4b1476ca591)
#define LOSSMATRIX_CURVATURES(each) each(curvature_baeecdfac9ef) each(curvature_e892d446c4b3) each(curvature_c4259058038a) each(curvature_1d593e5deb74) each(curvature_193bf2e586c6) each(curvature_fdc430f57c86) each(curvature_5884fc4121f8) each(curvature_b06cb05714c1) each(curvature_371933ddbeb4) each(curvature_9a0dfcc4860a) each(curvature_16c511c46774) each(curvature_dbd3a57f50b1)
