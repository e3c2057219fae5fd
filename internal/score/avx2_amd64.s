#include "textflag.h"

// Kernels for AVX2 with FMA. As avx512_amd64.s, but four rows at a time, half
// a group.
//
// Offsets into groups: dst 0, stride 24, cols 32, maxLC 40, maxBits 48, low 56,
// high 64, sumLow 72, sumHigh 80, top 88. Into lanes4: tiny 0, one 32, magic
// 64, bias 96, inverse 128, logLow 160, logHigh 192, q 224.
//
// Y0 and Y1 are the two largest entries, Y2 the sum, Y3 all signs, Y4 the
// entropy.

// Four ones and four zeros: a window of four lanes is the mask of a tail.
DATA mask32<>+0(SB)/8, $-1
DATA mask32<>+8(SB)/8, $-1
DATA mask32<>+16(SB)/8, $0
DATA mask32<>+24(SB)/8, $0
GLOBL mask32<>(SB), RODATA|NOPTR, $32

DATA mask64<>+0(SB)/8, $-1
DATA mask64<>+8(SB)/8, $-1
DATA mask64<>+16(SB)/8, $-1
DATA mask64<>+24(SB)/8, $-1
DATA mask64<>+32(SB)/8, $0
DATA mask64<>+40(SB)/8, $0
DATA mask64<>+48(SB)/8, $0
DATA mask64<>+56(SB)/8, $0
GLOBL mask64<>(SB), RODATA|NOPTR, $64

// START loads the arguments. R11 is the half, R12 the bytes written to each
// dst, CX the halves left.
#define START \
	MOVQ gs+0(FP), R13;       \
	MOVQ data+8(FP), R11;     \
	MOVQ n+16(FP), CX;        \
	ADDQ CX, CX;              \
	XORL R12, R12;            \
	MOVQ 24(R13), R8;         \
	LEAQ (R8)(R8*2), R9;      \
	LEAQ ·lanes4(SB), R10

// HALF starts four rows at SI with DX columns left.
#define HALF \
	MOVQ R11, SI;             \
	LEAQ (R11)(R8*4), R11;    \
	MOVQ 32(R13), DX;         \
	VXORPD Y0, Y0, Y0;        \
	VXORPD Y1, Y1, Y1;        \
	VXORPD Y2, Y2, Y2;        \
	VXORPD Y3, Y3, Y3;        \
	VXORPD Y4, Y4, Y4

// PAST sets AX to the number of columns past the end, of the next four.
#define PAST \
	MOVQ $4, AX;              \
	CMPQ DX, AX;              \
	CMOVQLT DX, AX;           \
	SUBQ $4, AX;              \
	NEGQ AX

// AHEAD asks for what the loads after the next few want, as in avx512_amd64.s.
#define AHEAD \
	PREFETCHT0 128(SI);              \
	PREFETCHT0 128(SI)(R8*1);        \
	PREFETCHT0 128(SI)(R8*2);        \
	PREFETCHT0 128(SI)(R9*1)

// LOAD32 moves four columns of float32 to Y5 to Y8.
#define LOAD32 \
	PAST;                            \
	LEAQ mask32<>(SB), DI;           \
	VMOVUPS (DI)(AX*4), X9;          \
	VMASKMOVPS (SI), X9, X5;         \
	VMASKMOVPS (SI)(R8*1), X9, X6;   \
	VMASKMOVPS (SI)(R8*2), X9, X7;   \
	VMASKMOVPS (SI)(R9*1), X9, X8;   \
	VUNPCKLPS X6, X5, X9;            \
	VUNPCKHPS X6, X5, X10;           \
	VUNPCKLPS X8, X7, X11;           \
	VUNPCKHPS X8, X7, X12;           \
	VUNPCKLPD X11, X9, X5;           \
	VUNPCKHPD X11, X9, X6;           \
	VUNPCKLPD X12, X10, X7;          \
	VUNPCKHPD X12, X10, X8;          \
	VCVTPS2PD X5, Y5;                \
	VCVTPS2PD X6, Y6;                \
	VCVTPS2PD X7, Y7;                \
	VCVTPS2PD X8, Y8;                \
	ADDQ $16, SI

// LOAD64 moves four columns of float64 to Y5 to Y8.
#define LOAD64 \
	PAST;                            \
	LEAQ mask64<>(SB), DI;           \
	VMOVUPD (DI)(AX*8), Y9;          \
	VMASKMOVPD (SI), Y9, Y5;         \
	VMASKMOVPD (SI)(R8*1), Y9, Y6;   \
	VMASKMOVPD (SI)(R8*2), Y9, Y7;   \
	VMASKMOVPD (SI)(R9*1), Y9, Y8;   \
	VUNPCKLPD Y6, Y5, Y9;            \
	VUNPCKHPD Y6, Y5, Y10;           \
	VUNPCKLPD Y8, Y7, Y11;           \
	VUNPCKHPD Y8, Y7, Y12;           \
	VPERM2F128 $0x20, Y11, Y9, Y5;   \
	VPERM2F128 $0x20, Y12, Y10, Y6;  \
	VPERM2F128 $0x31, Y11, Y9, Y7;   \
	VPERM2F128 $0x31, Y12, Y10, Y8;  \
	ADDQ $32, SI

// COLUMN adds one column x. The logarithm of max(x, 2^-1022) = 2^Y9 · Y12 is
// made in Y9 to Y12.
#define COLUMN(x) \
	VMINPD x, Y0, Y9;                \
	VMAXPD x, Y0, Y0;                \
	VMAXPD Y9, Y1, Y1;               \
	VADDPD x, Y2, Y2;                \
	VORPD x, Y3, Y3;                 \
	VMAXPD 0(R10), x, Y9;            \
	VPSRLQ $49, Y9, Y10;             \
	VPSHUFD $0xa0, Y10, Y10;         \
	VPERMD 128(R10), Y10, Y11;       \
	VPSLLQ $32, Y11, Y11;            \
	VPSLLQ $12, Y9, Y12;             \
	VPSRLQ $12, Y12, Y12;            \
	VORPD 32(R10), Y12, Y12;         \
	VFMSUB213PD 32(R10), Y11, Y12;   \
	VPSRLQ $52, Y9, Y9;              \
	VORPD 64(R10), Y9, Y9;           \
	VSUBPD 96(R10), Y9, Y9;          \
	VPERMD 192(R10), Y10, Y11;       \
	VPERMD 160(R10), Y10, Y10;       \
	VPBLENDD $0xaa, Y11, Y10, Y10;   \
	VADDPD Y10, Y9, Y9;              \
	VMOVUPD 224(R10), Y10;           \
	VFMADD213PD 256(R10), Y12, Y10;  \
	VFMADD213PD 288(R10), Y12, Y10;  \
	VFMADD213PD 320(R10), Y12, Y10;  \
	VFMADD213PD 352(R10), Y12, Y10;  \
	VFMADD213PD 384(R10), Y12, Y10;  \
	VFMADD213PD 416(R10), Y12, Y10;  \
	VFMADD213PD 448(R10), Y12, Y10;  \
	VFMADD213PD Y9, Y12, Y10;        \
	VFNMADD231PD Y10, x, Y4

// STORE moves x to [low, high] = [Y9, Y10] and writes it to dst at offset k.
#define STORE(x, k) \
	VMAXPD Y9, x, x;                 \
	VMINPD Y10, x, x;                \
	MOVQ k(R13), AX;                 \
	VMOVUPD x, (AX)(R12*1)

// SCORES writes the scores of the half and leaves a bit for each row that is
// not plain in AX.
#define SCORES \
	VBROADCASTSD 40(R13), Y5;        \
	VBROADCASTSD 48(R13), Y6;        \
	VBROADCASTSD 56(R13), Y9;        \
	VBROADCASTSD 64(R13), Y10;       \
	VMOVUPD 32(R10), Y7;             \
	VSUBPD Y0, Y7, Y8;               \
	VDIVPD Y5, Y8, Y8;               \
	VDIVPD Y6, Y4, Y4;               \
	VSUBPD Y1, Y0, Y1;               \
	VSUBPD Y1, Y7, Y7;               \
	STORE(Y8, 0);                    \
	STORE(Y7, 8);                    \
	STORE(Y4, 16);                   \
	ADDQ $32, R12;                   \
	VBROADCASTSD 72(R13), Y5;        \
	VBROADCASTSD 80(R13), Y6;        \
	VBROADCASTSD 88(R13), Y7;        \
	VCMPPD $13, Y5, Y2, Y5;          \
	VCMPPD $2, Y6, Y2, Y6;           \
	VCMPPD $2, Y7, Y0, Y7;           \
	VANDPD Y6, Y5, Y5;               \
	VANDPD Y7, Y5, Y5;               \
	VANDNPD Y5, Y3, Y5;              \
	VMOVMSKPD Y5, AX;                \
	XORL $15, AX

// KERNEL is a whole kernel for one way to load.
#define KERNEL(load) \
	START;                           \
group:                               \
	XORL BX, BX;                     \
half:                                \
	HALF;                            \
columns:                             \
	AHEAD;                           \
	load;                            \
	COLUMN(Y5);                      \
	SUBQ $1, DX;                     \
	JZ   scores;                     \
	COLUMN(Y6);                      \
	SUBQ $1, DX;                     \
	JZ   scores;                     \
	COLUMN(Y7);                      \
	SUBQ $1, DX;                     \
	JZ   scores;                     \
	COLUMN(Y8);                      \
	SUBQ $1, DX;                     \
	JNZ  columns;                    \
scores:                              \
	SCORES;                          \
	SUBQ $1, CX;                     \
	BTQ  $0, CX;                     \
	JCC  second;                     \
	MOVQ AX, BX;                     \
	JMP  half;                       \
second:                              \
	SHLQ $4, AX;                     \
	ORQ  AX, BX;                     \
	JNZ  return;                     \
	TESTQ CX, CX;                    \
	JNZ  group;                      \
return:                              \
	SHRQ $1, CX;                     \
	MOVQ n+16(FP), AX;               \
	SUBQ CX, AX;                     \
	MOVQ AX, done+24(FP);            \
	MOVQ BX, odd+32(FP);             \
	VZEROUPPER;                      \
	RET

// func groups32AVX2(gs *groups, data *float32, n int) (done int, odd uint64)
TEXT ·groups32AVX2(SB), NOSPLIT, $0-40
	KERNEL(LOAD32)

// func groups64AVX2(gs *groups, data *float64, n int) (done int, odd uint64)
TEXT ·groups64AVX2(SB), NOSPLIT, $0-40
	KERNEL(LOAD64)
