/* The constants of docs/spec/float32.md. Polynomials ascend. */
#ifndef LUTKAN_VECTORS_CONSTANTS_H
#define LUTKAN_VECTORS_CONSTANTS_H

#define LOG2E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e4p-1f
#define LN2_LOW 0x1.7f7d1cp-20f
#define EXP_LOW -0x1.5d589ep+6f
#define EXP_HIGH 0x1.62e42ep+6f
#define EXP_0 0x1.fffffcp-2f
#define EXP_1 0x1.555492p-3f
#define EXP_2 0x1.5558f2p-5f
#define EXP_3 0x1.123a06p-7f
#define EXP_4 0x1.6a2446p-10f
#define TANH_0 -0x1.555532p-2f
#define TANH_1 0x1.1106f6p-3f
#define TANH_2 -0x1.b835a4p-5f
#define TANH_3 0x1.51f8cep-6f
#define TANH_4 -0x1.750ce2p-8f
#define GELU_NUMERATOR_0 0x1p-1f
#define GELU_NUMERATOR_1 0x1.b966dap-2f
#define GELU_NUMERATOR_2 0x1.6c52b4p-3f
#define GELU_NUMERATOR_3 0x1.3e25a4p-5f
#define GELU_NUMERATOR_4 0x1.f8aap-9f
#define GELU_DENOMINATOR_0 0x1p+0f
#define GELU_DENOMINATOR_1 0x1.a8f59ap+0f
#define GELU_DENOMINATOR_2 0x1.2e260ap+0f
#define GELU_DENOMINATOR_3 0x1.d24b8ep-2f
#define GELU_DENOMINATOR_4 0x1.8ec692p-4f
#define GELU_DENOMINATOR_5 0x1.3c3ebep-7f

#define ROUNDER 0x1.8p+23f
#define TANH_SPLIT 0x1.4p-1f
#define SILU_FLOOR -0x1p+7f
#define GELU_CUT 0x1.78p+3f
#define GELU_FAR 0x1p+4f
#define SIGN_BIT 0x80000000u
#define UPPER_HALF 0xfffff000u

/* Lanes of the sums of a LayerNorm. */
#define LANES 16

#endif
