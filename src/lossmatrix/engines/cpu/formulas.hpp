// SPDX-License-Identifier: BSD-3-Clause
// Printed by lossmatrix.engines.cpu.generate from the losses' methods; do not edit.
#pragma once

namespace LOSSMATRIX_ISA {

// CrossEntropy()
struct formula_5f0b0b9db725 {
    static constexpr int totals = 1, streams = 0;
    static constexpr bool tilted = false, linear = true, costly = false, vanishes = true, empty = true;
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
struct formula_ccef157781ff {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = false, vanishes = true, empty = false;
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
struct formula_51f75ad43433 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = true, vanishes = true, empty = false;
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
struct formula_b335ee94d6aa {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = false, vanishes = false, empty = false;
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
struct formula_ba3ba20a5849 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = true, linear = true, costly = false, vanishes = true, empty = true;
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
struct formula_b9d37293dc80 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = true, linear = true, costly = false, vanishes = true, empty = true;
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
struct formula_cdcd4af5e34b {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool tilted = false, linear = false, costly = false, vanishes = true, empty = false;
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
struct formula_f92945fb6a42 {
    static constexpr int totals = 2, streams = 1;
    static constexpr bool tilted = false, linear = false, costly = false, vanishes = true, empty = false;
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
struct formula_95829fc77391 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = false, vanishes = true, empty = false;
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
struct formula_a9153862f441 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = true, vanishes = true, empty = false;
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
struct formula_23fa2baae8b8 {
    static constexpr int totals = 1, streams = 1;
    static constexpr bool tilted = false, linear = true, costly = false, vanishes = false, empty = false;
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

#define LOSSMATRIX_FORMULAS(each) each(formula_5f0b0b9db725) each(formula_ccef157781ff) each(formula_51f75ad43433) each(formula_b335ee94d6aa) each(formula_ba3ba20a5849) each(formula_b9d37293dc80) each(formula_cdcd4af5e34b) each(formula_f92945fb6a42) each(formula_95829fc77391) each(formula_a9153862f441) each(formula_23fa2baae8b8)
