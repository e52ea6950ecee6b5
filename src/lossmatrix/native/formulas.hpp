// SPDX-License-Identifier: BSD-3-Clause
// Printed from the losses' Python methods by lossmatrix.engines.generate; do not edit.
#pragma once

namespace LOSSMATRIX_ISA {

// CrossEntropy()
struct formula_5e46a7a9ee65 {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool tilted = false, linear = true, costly = false, vanishes = true;
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
struct formula_07cbba8b7291 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = false, vanishes = true;
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
struct formula_5f2d663db3be {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = true, vanishes = true;
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
struct formula_0e84764f33dc {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = false, vanishes = false;
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
struct formula_396dc0d292d4 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = true, linear = true, costly = false, vanishes = true;
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
struct formula_e519eddf9216 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = true, linear = true, costly = false, vanishes = true;
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
struct formula_1a5c76aa3fa2 {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool tilted = false, linear = false, costly = false, vanishes = true;
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
struct formula_9d749a87a118 {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool tilted = false, linear = false, costly = false, vanishes = true;
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
struct formula_a163b5680766 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = false, vanishes = true;
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
struct formula_14565acbde8a {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = true, vanishes = true;
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
struct formula_d54efbac39a9 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = false, vanishes = false;
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

#define LOSSMATRIX_FORMULAS(each) each(formula_5e46a7a9ee65) each(formula_07cbba8b7291) each(formula_5f2d663db3be) each(formula_0e84764f33dc) each(formula_396dc0d292d4) each(formula_e519eddf9216) each(formula_1a5c76aa3fa2) each(formula_9d749a87a118) each(formula_a163b5680766) each(formula_14565acbde8a) each(formula_d54efbac39a9)
