#include "textflag.h"

// Kernels for AVX-512 and for AVX2 with FMA. The contracts are in kernel.go
// and distance.go. Offsets into tile: points 0, thresholds 64, hits 96,
// values 128, scales 1152.

// func prefetch(x *float32, bytes int)
//
// Asks for the cache lines from x on, and waits for none.
TEXT ·prefetch(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), SI
	MOVQ bytes+8(FP), CX
line:
	PREFETCHT0 (SI)
	ADDQ $64, SI
	SUBQ $64, CX
	JGT  line
	RET

// func sumAVX512(x, y *float32, n int) float64
//
// Lanes 0-7 are in Z0, 8-15 in Z1. No fused multiply-add: the bits are fixed.
TEXT ·sumAVX512(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), SI
	MOVQ y+8(FP), DI
	MOVQ n+16(FP), CX
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	SUBQ $16, CX
	JLT  tail

loop:
	VCVTPS2PD (SI), Z2
	VCVTPS2PD 32(SI), Z3
	VCVTPS2PD (DI), Z4
	VCVTPS2PD 32(DI), Z5
	VSUBPD Z4, Z2, Z2
	VSUBPD Z5, Z3, Z3
	VMULPD Z2, Z2, Z2
	VMULPD Z3, Z3, Z3
	VADDPD Z2, Z0, Z0
	VADDPD Z3, Z1, Z1
	ADDQ $64, SI
	ADDQ $64, DI
	SUBQ $16, CX
	JGE  loop

tail: // CX + 16 coordinates are left; the others read as 0
	ADDQ $16, CX
	JZ   reduce
	MOVL $1, AX
	SHLL CX, AX
	SUBL $1, AX
	KMOVW AX, K1
	VMOVUPS.Z (SI), K1, Z6
	VMOVUPS.Z (DI), K1, Z7
	VCVTPS2PD Y6, Z2
	VCVTPS2PD Y7, Z4
	VEXTRACTF64X4 $1, Z6, Y6
	VEXTRACTF64X4 $1, Z7, Y7
	VCVTPS2PD Y6, Z3
	VCVTPS2PD Y7, Z5
	VSUBPD Z4, Z2, Z2
	VSUBPD Z5, Z3, Z3
	VMULPD Z2, Z2, Z2
	VMULPD Z3, Z3, Z3
	VADDPD Z2, Z0, Z0
	VADDPD Z3, Z1, Z1

reduce:
	VADDPD Z1, Z0, Z0
	VEXTRACTF64X4 $1, Z0, Y1
	VADDPD Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPD X1, X0, X0
	VUNPCKHPD X0, X0, X1
	VADDSD X1, X0, X0
	VMOVSD X0, ret+24(FP)
	VZEROUPPER
	RET

// 16 ones and 16 zeros: a window of 16 lanes into it is the mask of a tail.
DATA tailMask<>+0(SB)/8, $-1
DATA tailMask<>+8(SB)/8, $-1
DATA tailMask<>+16(SB)/8, $-1
DATA tailMask<>+24(SB)/8, $-1
DATA tailMask<>+32(SB)/8, $-1
DATA tailMask<>+40(SB)/8, $-1
DATA tailMask<>+48(SB)/8, $-1
DATA tailMask<>+56(SB)/8, $-1
DATA tailMask<>+64(SB)/8, $0
DATA tailMask<>+72(SB)/8, $0
DATA tailMask<>+80(SB)/8, $0
DATA tailMask<>+88(SB)/8, $0
DATA tailMask<>+96(SB)/8, $0
DATA tailMask<>+104(SB)/8, $0
DATA tailMask<>+112(SB)/8, $0
DATA tailMask<>+120(SB)/8, $0
GLOBL tailMask<>(SB), RODATA|NOPTR, $128

// SQUARE adds the squares of the differences of the four floats in a and b to
// the lanes acc.
#define SQUARE(a, b, t, u, acc) \
	VCVTPS2PD a, t;   \
	VCVTPS2PD b, u;   \
	VSUBPD u, t, t;   \
	VMULPD t, t, t;   \
	VADDPD t, acc, acc

// func sumAVX2(x, y *float32, n int) float64
//
// Lanes 0-3 are in Y0, 4-7 in Y1, 8-11 in Y2, 12-15 in Y3.
TEXT ·sumAVX2(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), SI
	MOVQ y+8(FP), DI
	MOVQ n+16(FP), CX
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
	VXORPD Y2, Y2, Y2
	VXORPD Y3, Y3, Y3
	SUBQ $16, CX
	JLT  tail

loop:
	SQUARE((SI), (DI), Y4, Y5, Y0)
	SQUARE(16(SI), 16(DI), Y6, Y7, Y1)
	SQUARE(32(SI), 32(DI), Y8, Y9, Y2)
	SQUARE(48(SI), 48(DI), Y10, Y11, Y3)
	ADDQ $64, SI
	ADDQ $64, DI
	SUBQ $16, CX
	JGE  loop

tail: // CX + 16 coordinates are left; the others read as 0
	ADDQ $16, CX
	JZ   reduce
	LEAQ tailMask<>+64(SB), AX
	SHLQ $2, CX
	SUBQ CX, AX
	VMOVUPS (AX), Y12
	VMOVUPS 32(AX), Y13
	VMASKMOVPS (SI), Y12, Y8
	VMASKMOVPS 32(SI), Y13, Y9
	VMASKMOVPS (DI), Y12, Y10
	VMASKMOVPS 32(DI), Y13, Y11
	SQUARE(X8, X10, Y4, Y5, Y0)
	SQUARE(X9, X11, Y6, Y7, Y2)
	VEXTRACTF128 $1, Y8, X8
	VEXTRACTF128 $1, Y9, X9
	VEXTRACTF128 $1, Y10, X10
	VEXTRACTF128 $1, Y11, X11
	SQUARE(X8, X10, Y4, Y5, Y1)
	SQUARE(X9, X11, Y6, Y7, Y3)

reduce:
	VADDPD Y2, Y0, Y0
	VADDPD Y3, Y1, Y1
	VADDPD Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPD X1, X0, X0
	VUNPCKHPD X0, X0, X1
	VADDSD X1, X0, X0
	VMOVSD X0, ret+24(FP)
	VZEROUPPER
	RET

// POINT512 adds coordinate CX of a point times 32 centers to its sums.
#define POINT512(x, t, lo, hi) \
	VBROADCASTSS (x)(CX*4), t; \
	VFMADD231PS Z16, t, lo;    \
	VFMADD231PS Z17, t, hi

// STORE512 writes values and hits of point r.
#define STORE512(r, lo, hi) \
	VBROADCASTSS (64+4*r)(R13), Z16; \
	VCMPPS $5, Z16, lo, K1;          \
	VCMPPS $5, Z16, hi, K2;          \
	KMOVW K1, AX;                    \
	KMOVW K2, BX;                    \
	SHLL $16, BX;                    \
	ORL  BX, AX;                     \
	MOVL AX, (96+4*r)(R13);          \
	VMOVUPS lo, (128+128*r)(R13);    \
	VMOVUPS hi, (192+128*r)(R13)

// func tileAVX512(t *tile, panel *float32, dim int)
//
// The sums of point r are in Z(2r) and Z(2r+1), the centers in Z16 and Z17.
TEXT ·tileAVX512(SB), NOSPLIT, $0-24
	MOVQ t+0(FP), R13
	MOVQ panel+8(FP), SI
	MOVQ dim+16(FP), R12
	MOVQ 0(R13), AX
	MOVQ 8(R13), BX
	MOVQ 16(R13), DX
	MOVQ 24(R13), DI
	MOVQ 32(R13), R8
	MOVQ 40(R13), R9
	MOVQ 48(R13), R10
	MOVQ 56(R13), R11
	VMOVUPS (SI), Z0
	VMOVUPS 64(SI), Z1
	VMOVAPS Z0, Z2
	VMOVAPS Z1, Z3
	VMOVAPS Z0, Z4
	VMOVAPS Z1, Z5
	VMOVAPS Z0, Z6
	VMOVAPS Z1, Z7
	VMOVAPS Z0, Z8
	VMOVAPS Z1, Z9
	VMOVAPS Z0, Z10
	VMOVAPS Z1, Z11
	VMOVAPS Z0, Z12
	VMOVAPS Z1, Z13
	VMOVAPS Z0, Z14
	VMOVAPS Z1, Z15
	XORQ CX, CX

loop:
	ADDQ $128, SI
	VMOVUPS (SI), Z16
	VMOVUPS 64(SI), Z17
	POINT512(AX, Z18, Z0, Z1)
	POINT512(BX, Z19, Z2, Z3)
	POINT512(DX, Z20, Z4, Z5)
	POINT512(DI, Z21, Z6, Z7)
	POINT512(R8, Z22, Z8, Z9)
	POINT512(R9, Z23, Z10, Z11)
	POINT512(R10, Z24, Z12, Z13)
	POINT512(R11, Z25, Z14, Z15)
	INCQ CX
	CMPQ CX, R12
	JLT  loop

	STORE512(0, Z0, Z1)
	STORE512(1, Z2, Z3)
	STORE512(2, Z4, Z5)
	STORE512(3, Z6, Z7)
	STORE512(4, Z8, Z9)
	STORE512(5, Z10, Z11)
	STORE512(6, Z12, Z13)
	STORE512(7, Z14, Z15)
	VZEROUPPER
	RET

// func quantizeAVX512(codes *int16, x *float32, n int, most float32, r *rounded, next *float32)
//
// Z0 is the largest value, Z1 its mask, Z2 the scale and Z3 its inverse; Z4 and
// Z5 sum the squares of the values and of what their codes miss.
TEXT ·quantizeAVX512(SB), NOSPLIT, $0-48
	MOVQ codes+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ r+32(FP), R8
	MOVQ CX, DX
	ANDQ $15, DX
	SUBQ DX, CX      // whole blocks, DX coordinates in the last one
	MOVL $1, AX
	XCHGQ CX, DX
	SHLL CX, AX
	XCHGQ CX, DX
	SUBL $1, AX
	KMOVW AX, K1
	MOVL $0x7fffffff, AX
	VPBROADCASTD AX, Z1
	VPXORQ Z0, Z0, Z0
	MOVQ next+40(FP), R9
	XORQ BX, BX
	CMPQ BX, CX
	JGE  largestTail

largest:
	PREFETCHT0 (R9)(BX*4)
	VPANDD (SI)(BX*4), Z1, Z6
	VMAXPS Z6, Z0, Z0
	ADDQ $16, BX
	CMPQ BX, CX
	JLT  largest

largestTail:
	VMOVUPS.Z (SI)(BX*4), K1, Z6
	VPANDD Z6, Z1, Z6
	VMAXPS Z6, Z0, Z0
	VEXTRACTF64X4 $1, Z0, Y6
	VMAXPS Y6, Y0, Y0
	VEXTRACTF128 $1, Y0, X6
	VMAXPS X6, X0, X0
	VPERMILPS $0x4e, X0, X6
	VMAXPS X6, X0, X0
	VPERMILPS $0xb1, X0, X6
	VMAXPS X6, X0, X0
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3
	MOVL $0x0d800000, AX // 2**-100
	VMOVD AX, X6
	VUCOMISS X6, X0
	JB   round
	VMOVSS most+24(FP), X6
	VDIVSS X6, X0, X2
	VDIVSS X0, X6, X3

round:
	VMOVSS X2, 0(R8)
	VBROADCASTSS X2, Z2
	VBROADCASTSS X3, Z3
	VPXORQ Z4, Z4, Z4
	VPXORQ Z5, Z5, Z5
	XORQ BX, BX
	CMPQ BX, CX
	JGE  codeTail

code:
	VMOVUPS (SI)(BX*4), Z6
	VMULPS Z3, Z6, Z7
	VCVTPS2DQ Z7, Z7
	VPMOVDW Z7, (DI)(BX*2)
	VCVTDQ2PS Z7, Z7
	VFMADD231PS Z6, Z6, Z4
	VFNMADD231PS Z2, Z7, Z6
	VFMADD231PS Z6, Z6, Z5
	ADDQ $16, BX
	CMPQ BX, CX
	JLT  code

codeTail:
	TESTQ DX, DX
	JZ   sums
	VMOVUPS.Z (SI)(BX*4), K1, Z6
	VMULPS Z3, Z6, Z7
	VCVTPS2DQ Z7, Z7
	VPMOVDW Z7, (DI)(BX*2)
	VCVTDQ2PS Z7, Z7
	VFMADD231PS Z6, Z6, Z4
	VFNMADD231PS Z2, Z7, Z6
	VFMADD231PS Z6, Z6, Z5

sums:
	VEXTRACTF64X4 $1, Z4, Y6
	VADDPS Y6, Y4, Y4
	VEXTRACTF64X4 $1, Z5, Y7
	VADDPS Y7, Y5, Y5
	VHADDPS Y5, Y4, Y4
	VHADDPS Y4, Y4, Y4
	VEXTRACTF128 $1, Y4, X5
	VADDPS X5, X4, X4
	VMOVLPS X4, 4(R8)
	VZEROUPPER
	RET

// CODES adds two coordinates of a point times those of 32 centers to its sums.
#define CODES(x, lo, hi) \
	VPDPWSSD.BCST (x)(CX*4), Z16, lo; \
	VPDPWSSD.BCST (x)(CX*4), Z17, hi

// VALUES makes values of sums. The biases are in Z18 and Z19, the scales of the
// centers in Z20 and Z21.
#define VALUES(r, lo, hi) \
	VBROADCASTSS (1152+4*r)(R13), Z16; \
	VMULPS Z20, Z16, Z17;              \
	VMULPS Z21, Z16, Z16;              \
	VCVTDQ2PS lo, lo;                  \
	VCVTDQ2PS hi, hi;                  \
	VFMADD213PS Z18, Z17, lo;          \
	VFMADD213PS Z19, Z16, hi;          \
	STORE512(r, lo, hi)

// func tileCodesVNNI(t *tile, biases, scales *float32, codes *uint32, steps int)
//
// As tileAVX512, with two coordinates in a step.
TEXT ·tileCodesVNNI(SB), NOSPLIT, $0-40
	MOVQ t+0(FP), R13
	MOVQ codes+24(FP), SI
	MOVQ steps+32(FP), R12
	MOVQ 0(R13), AX
	MOVQ 8(R13), BX
	MOVQ 16(R13), DX
	MOVQ 24(R13), DI
	MOVQ 32(R13), R8
	MOVQ 40(R13), R9
	MOVQ 48(R13), R10
	MOVQ 56(R13), R11
	VPXORQ Z0, Z0, Z0
	VMOVAPS Z0, Z1
	VMOVAPS Z0, Z2
	VMOVAPS Z0, Z3
	VMOVAPS Z0, Z4
	VMOVAPS Z0, Z5
	VMOVAPS Z0, Z6
	VMOVAPS Z0, Z7
	VMOVAPS Z0, Z8
	VMOVAPS Z0, Z9
	VMOVAPS Z0, Z10
	VMOVAPS Z0, Z11
	VMOVAPS Z0, Z12
	VMOVAPS Z0, Z13
	VMOVAPS Z0, Z14
	VMOVAPS Z0, Z15
	XORQ CX, CX

loop:
	VMOVDQU32 (SI), Z16
	VMOVDQU32 64(SI), Z17
	ADDQ $128, SI
	CODES(AX, Z0, Z1)
	CODES(BX, Z2, Z3)
	CODES(DX, Z4, Z5)
	CODES(DI, Z6, Z7)
	CODES(R8, Z8, Z9)
	CODES(R9, Z10, Z11)
	CODES(R10, Z12, Z13)
	CODES(R11, Z14, Z15)
	INCQ CX
	CMPQ CX, R12
	JLT  loop

	MOVQ biases+8(FP), SI
	VMOVUPS (SI), Z18
	VMOVUPS 64(SI), Z19
	MOVQ scales+16(FP), SI
	VMOVUPS (SI), Z20
	VMOVUPS 64(SI), Z21
	VALUES(0, Z0, Z1)
	VALUES(1, Z2, Z3)
	VALUES(2, Z4, Z5)
	VALUES(3, Z6, Z7)
	VALUES(4, Z8, Z9)
	VALUES(5, Z10, Z11)
	VALUES(6, Z12, Z13)
	VALUES(7, Z14, Z15)
	VZEROUPPER
	RET

// POINT2 adds coordinate CX of a point times 16 centers to its sums.
#define POINT2(x, t, lo, hi) \
	VBROADCASTSS (x)(CX*4), t; \
	VFMADD231PS Y8, t, lo;     \
	VFMADD231PS Y9, t, hi

// STORE2 writes values and hits of point R11 + r and the lanes of this half.
#define STORE2(r, lo, hi) \
	VBROADCASTSS (64+4*r)(R11), Y8; \
	VCMPPS $5, Y8, lo, Y9;          \
	VMOVMSKPS Y9, R8;               \
	VCMPPS $5, Y8, hi, Y9;          \
	VMOVMSKPS Y9, R9;               \
	SHLL $8, R9;                    \
	ORL  R9, R8;                    \
	MOVW R8, (96+4*r)(R12);         \
	VMOVUPS lo, (128+128*r)(R13);   \
	VMOVUPS hi, (160+128*r)(R13)

// func tileAVX2(t *tile, panel *float32, dim int)
//
// Four blocks of 4 points × 16 centers. Their addresses: R10 pointers of the
// points, R11 thresholds, R12 hits, R13 values, R14 panel; R15 counts the blocks.
TEXT ·tileAVX2(SB), NOSPLIT, $0-24
	MOVQ t+0(FP), R10
	MOVQ R10, R11
	MOVQ R10, R12
	MOVQ R10, R13
	MOVQ panel+8(FP), R14
	XORQ R15, R15

block:
	MOVQ R14, SI
	MOVQ 0(R10), AX
	MOVQ 8(R10), BX
	MOVQ 16(R10), DX
	MOVQ 24(R10), DI
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	VMOVAPS Y0, Y2
	VMOVAPS Y1, Y3
	VMOVAPS Y0, Y4
	VMOVAPS Y1, Y5
	VMOVAPS Y0, Y6
	VMOVAPS Y1, Y7
	XORQ CX, CX

loop:
	ADDQ $128, SI
	VMOVUPS (SI), Y8
	VMOVUPS 32(SI), Y9
	POINT2(AX, Y10, Y0, Y1)
	POINT2(BX, Y11, Y2, Y3)
	POINT2(DX, Y12, Y4, Y5)
	POINT2(DI, Y13, Y6, Y7)
	INCQ CX
	CMPQ CX, dim+16(FP)
	JLT  loop

	STORE2(0, Y0, Y1)
	STORE2(1, Y2, Y3)
	STORE2(2, Y4, Y5)
	STORE2(3, Y6, Y7)

	// The upper lanes of the same points, then the lower points.
	ADDQ $64, R14
	ADDQ $2, R12
	ADDQ $64, R13
	INCQ R15
	CMPQ R15, $2
	JNE  next
	SUBQ $128, R14
	ADDQ $32, R10
	ADDQ $16, R11
	ADDQ $12, R12
	ADDQ $384, R13

next:
	CMPQ R15, $4
	JLT  block
	VZEROUPPER
	RET
