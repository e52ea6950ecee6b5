// SPDX-License-Identifier: BSD-3-Clause
// Printed from the losses' Python methods by lossmatrix.engines.generate; do not edit.
#pragma once

namespace LOSSMATRIX_ISA {

// CrossEntropy()
struct formula_b8b1d68491a7 {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool tilted = false, linear = true;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q;
    }
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return t[0];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
};

// ExpectedCost()
struct formula_8475bee97600 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p * k.q;
    }
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return t[0];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
};

// Unlikelihood()
struct formula_0fd36c8602e1 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p / (k.q);
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p / (k.q);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(a[0]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return t[0];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
};

// CostSensitiveCrossEntropy()
struct formula_829f13f247ca {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.c[0];
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.c[0];
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.c[0] * k.q;
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.c[0] * k.q;
    }
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return t[0];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
};

// SoftmaxMargin(log=False)
struct formula_6f0491e6a599 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = true, linear = true;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return c[0];
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return c[0];
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[0]) * k.c[0] + V(-1.0) * V(a[0]) * k.lp;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q;
    }
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return t[0];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
};

// SoftmaxMargin(log=True)
struct formula_e18ad6b56ad3 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = true, linear = true;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return log(c[0]);
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(0);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]);
    }
    template <class V, class T>
    static INLINE V slope(const Cell<V>& k, const T* a, const V* f) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V slope_truth(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[0]) * k.q;
    }
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return t[0];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
};

// CostFocal(gamma=2.0, detach=False)
struct formula_48d385153e71 {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool tilted = false, linear = false;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return V(0);
    }
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
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
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
        out[0] = V(a[0]) * V(a[1]) * power(t[0], V(-1.0) + V(a[1])) * t[1];
        out[1] = V(a[0]) * power(t[0], V(a[1]));
    }
};

// CostFocal(gamma=2.0, detach=True)
struct formula_227bb1b504d2 {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool tilted = false, linear = false;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return V(0);
    }
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
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return f[0] * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
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

// CrossEntropy() + ExpectedCost()
struct formula_0ca2fbdeeb4a {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp + V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p;
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
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
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return t[0];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
};

// CrossEntropy() + Unlikelihood()
struct formula_bb4957029d34 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[1]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp + V(-1.0) * V(a[1]) * weigh(k.c[0], k.lq);
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(a[1]) * k.c[0] * k.p / (k.q);
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
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
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return t[0];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
};

// CrossEntropy() + CostSensitiveCrossEntropy()
struct formula_ea956a98d969 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true;
    template <class V, class T>
    static INLINE V margin(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE V margin_truth(const V* c, const T* a) {
        return V(0);
    }
    template <class V, class T>
    static INLINE void terms(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[1]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE void terms_truth(const Cell<V>& k, const T* a, V* out) {
        out[0] = V(-1.0) * V(a[0]) * k.lp + V(-1.0) * V(a[1]) * weigh(k.c[0], k.lp);
    }
    template <class V, class T>
    static INLINE V pull(const Cell<V>& k, const T* a, const V* f) {
        return V(-1.0) * V(a[1]) * k.c[0];
    }
    template <class V, class T>
    static INLINE V pull_truth(const Cell<V>& k, const T* a, const V* f) {
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
    template <class V, class T>
    static INLINE V loss(const V* t, const T* a) {
        return t[0];
    }
    template <class V, class T>
    static INLINE void partials(const V* t, const T* a, V* out) {
        out[0] = V(1.0);
    }
};

}  // namespace LOSSMATRIX_ISA

#define LOSSMATRIX_FORMULAS(each) each(formula_b8b1d68491a7) each(formula_8475bee97600) each(formula_0fd36c8602e1) each(formula_829f13f247ca) each(formula_6f0491e6a599) each(formula_e18ad6b56ad3) each(formula_48d385153e71) each(formula_227bb1b504d2) each(formula_0ca2fbdeeb4a) each(formula_bb4957029d34) each(formula_ea956a98d969)
