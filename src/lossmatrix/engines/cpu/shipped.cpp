// SPDX-License-Identifier: BSD-3-Clause
// The kernels that ship with the package, for the instruction set LOSSMATRIX_SET.
#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)
#define LOSSMATRIX_ISA JOINED(lossmatrix_, LOSSMATRIX_SET)

#include "kernels.hpp"

#include "costs.hpp"
#include "formulas.hpp"
#include "matrices.hpp"

#define KERNEL(formula)                                                                    \
    extern "C" __attribute__((visibility("default"))) void JOINED(formula##_, LOSSMATRIX_SET)( \
        Task * task) {                                                                     \
        LOSSMATRIX_ISA::run<LOSSMATRIX_ISA::formula>(task);                                \
    }
LOSSMATRIX_FORMULAS(KERNEL)

#define MATRIX(costs)                                                                      \
    extern "C" __attribute__((visibility("default"))) void JOINED(costs##_, LOSSMATRIX_SET)( \
        const CostProgram* program, int64_t truth, int64_t count, void* row) {             \
        LOSSMATRIX_ISA::make_row<LOSSMATRIX_ISA::costs>(program, truth, count, row);       \
    }
MATRIX(costs_tree)
MATRIX(costs_sparse)
MATRIX(costs_soft_targets)
LOSSMATRIX_MATRICES(MATRIX)
