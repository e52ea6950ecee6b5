// SPDX-License-Identifier: BSD-3-Clause
// Printed by lossmatrix.engines.cpu.generate from the losses' methods; do not edit.
#pragma once

namespace LOSSMATRIX_ISA {

// CrossEntropy()
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

// ExpectedCost()
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

// Unlikelihood()
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

// CostSensitiveCrossEntropy()
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

// SoftmaxMargin(log=False)
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

// SoftmaxMargin(log=True)
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

// CostFocal(gamma=2.0, detach=False)
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

// CostFocal(gamma=2.0, detach=True)
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

// CrossEntropy() + ExpectedCost()
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

// CrossEntropy() + Unlikelihood()
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

// CrossEntropy() + CostSensitiveCrossEntropy()
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

}  // namespace LOSSMATRIX_ISA

#define LOSSMATRIX_FORMULAS(each) each(formula_40fe0bdcdc5f) each(formula_64e1734aa492) each(formula_2aaacd055071) each(formula_6521feb40de1) each(formula_74bca7f6b43e) each(formula_3d2808d6f005) each(formula_32e236e86d15) each(formula_9f8806bbb741) each(formula_90fcb70449e0) each(formula_59017a23a136) each(formula_f909a1412027)
