#include "textflag.h"

// Kernels for AVX-512. The contract is in groups.go: eight rows at a time, one
// in each lane of float64, are added up column by column in the order of
// operations of rawRow and log2.
//
// Offsets into groups: dst 0, stride 24, cols 32, maxLC 40, maxBits 48, low 56,
// high 64, sumLow 72, sumHigh 80, top 88, table 96. Into logTable: inverse 0,
// log 64, q 128.
//
// Z0 and Z1 are the two largest entries, Z2 the sum, Z4 the entropy. Z11 to
// Z14 and Z24 to Z31 are constants. The entries are compared as unsigned
// integers, which is the same without signs; NaN, infinities and everything
// with a sign come out larger than what is plain.

DATA tiny<>+0(SB)/8, $0x0010000000000000 // 2^-1022
GLOBL tiny<>(SB), RODATA|NOPTR, $8

DATA unit<>+0(SB)/8, $0x3ff0000000000000 // 1
GLOBL unit<>(SB), RODATA|NOPTR, $8

// START loads arguments and constants. R11 is the group, R10 the bytes to the
// next one, R12 the bytes written to each dst, CX the groups left.
#define START \
	MOVQ gs+0(FP), R13;                 \
	MOVQ data+8(FP), R11;              \
	MOVQ n+16(FP), CX;                 \
	XORL R12, R12;                     \
	MOVQ 24(R13), R8;                  \
	LEAQ (R8)(R8*2), R9;               \
	LEAQ 0(R8*8), R10;                 \
	MOVQ 96(R13), AX;                  \
	VBROADCASTSD tiny<>(SB), Z11;      \
	VBROADCASTSD unit<>(SB), Z12;      \
	VMOVUPD 0(AX), Z13;                \
	VMOVUPD 64(AX), Z14;               \
	VBROADCASTSD 128(AX), Z24;         \
	VBROADCASTSD 136(AX), Z25;         \
	VBROADCASTSD 144(AX), Z26;         \
	VBROADCASTSD 152(AX), Z27;         \
	VBROADCASTSD 160(AX), Z28;         \
	VBROADCASTSD 168(AX), Z29;         \
	VBROADCASTSD 176(AX), Z30;         \
	VBROADCASTSD 184(AX), Z31

// GROUP starts a group: rows 0 to 3 are at SI, rows 4 to 7 at DI, DX is the
// number of columns left.
#define GROUP \
	MOVQ R11, SI;           \
	LEAQ (R11)(R8*4), DI;   \
	ADDQ R10, R11;          \
	MOVQ 32(R13), DX;       \
	VPXORQ Z0, Z0, Z0;      \
	VPXORQ Z1, Z1, Z1;      \
	VPXORQ Z2, Z2, Z2;      \
	VPXORQ Z4, Z4, Z4

// MASK sets K1 to the first DX < 4 of four columns.
#define MASK \
	MOVL $15, AX;           \
	BZHIL DX, AX, AX;       \
	KMOVB AX, K1

// AHEAD asks for what the loads after the next few want. The processor does
// not see by itself that eight rows are read side by side: without this most of
// the time is spent waiting for memory. It may ask beyond the end.
#define AHEAD \
	PREFETCHT0 128(SI);                \
	PREFETCHT0 128(SI)(R8*1);          \
	PREFETCHT0 128(SI)(R8*2);          \
	PREFETCHT0 128(SI)(R9*1);          \
	PREFETCHT0 128(DI);                \
	PREFETCHT0 128(DI)(R8*1);          \
	PREFETCHT0 128(DI)(R8*2);          \
	PREFETCHT0 128(DI)(R9*1)

// LOAD32 loads four columns of float32, TAIL32 what is left of them; TURN32 moves
// them to Z16 to Z19.
#define LOAD32 \
	VMOVUPS (SI), X16;                             \
	VMOVUPS (SI)(R8*1), X17;                       \
	VMOVUPS (SI)(R8*2), X18;                       \
	VMOVUPS (SI)(R9*1), X19;                       \
	VINSERTF32X4 $1, (DI), Y16, Y16;               \
	VINSERTF32X4 $1, (DI)(R8*1), Y17, Y17;         \
	VINSERTF32X4 $1, (DI)(R8*2), Y18, Y18;         \
	VINSERTF32X4 $1, (DI)(R9*1), Y19, Y19;         \
	ADDQ $16, SI;                                  \
	ADDQ $16, DI

#define TAIL32 \
	VMOVUPS.Z (SI), K1, X16;           \
	VMOVUPS.Z (SI)(R8*1), K1, X17;     \
	VMOVUPS.Z (SI)(R8*2), K1, X18;     \
	VMOVUPS.Z (SI)(R9*1), K1, X19;     \
	VMOVUPS.Z (DI), K1, X20;           \
	VMOVUPS.Z (DI)(R8*1), K1, X21;     \
	VMOVUPS.Z (DI)(R8*2), K1, X22;     \
	VMOVUPS.Z (DI)(R9*1), K1, X23;     \
	VINSERTF32X4 $1, X20, Y16, Y16;    \
	VINSERTF32X4 $1, X21, Y17, Y17;    \
	VINSERTF32X4 $1, X22, Y18, Y18;    \
	VINSERTF32X4 $1, X23, Y19, Y19

#define TURN32 \
	VUNPCKLPS Y17, Y16, Y20;           \
	VUNPCKHPS Y17, Y16, Y21;           \
	VUNPCKLPS Y19, Y18, Y22;           \
	VUNPCKHPS Y19, Y18, Y23;           \
	VUNPCKLPD Y22, Y20, Y16;           \
	VUNPCKHPD Y22, Y20, Y17;           \
	VUNPCKLPD Y23, Y21, Y18;           \
	VUNPCKHPD Y23, Y21, Y19;           \
	VCVTPS2PD Y16, Z16;                \
	VCVTPS2PD Y17, Z17;                \
	VCVTPS2PD Y18, Z18;                \
	VCVTPS2PD Y19, Z19

// LOAD64, TAIL64 and TURN64 are the same for float64.
#define LOAD64 \
	VMOVUPD (SI), Y16;                             \
	VMOVUPD (SI)(R8*1), Y17;                       \
	VMOVUPD (DI), Y18;                             \
	VMOVUPD (DI)(R8*1), Y19;                       \
	VINSERTF64X4 $1, (SI)(R8*2), Z16, Z16;         \
	VINSERTF64X4 $1, (SI)(R9*1), Z17, Z17;         \
	VINSERTF64X4 $1, (DI)(R8*2), Z18, Z18;         \
	VINSERTF64X4 $1, (DI)(R9*1), Z19, Z19;         \
	ADDQ $32, SI;                                  \
	ADDQ $32, DI

#define TAIL64 \
	VMOVUPD.Z (SI), K1, Y16;           \
	VMOVUPD.Z (SI)(R8*1), K1, Y17;     \
	VMOVUPD.Z (SI)(R8*2), K1, Y20;     \
	VMOVUPD.Z (SI)(R9*1), K1, Y21;     \
	VMOVUPD.Z (DI), K1, Y18;           \
	VMOVUPD.Z (DI)(R8*1), K1, Y19;     \
	VMOVUPD.Z (DI)(R8*2), K1, Y22;     \
	VMOVUPD.Z (DI)(R9*1), K1, Y23;     \
	VINSERTF64X4 $1, Y20, Z16, Z16;    \
	VINSERTF64X4 $1, Y21, Z17, Z17;    \
	VINSERTF64X4 $1, Y22, Z18, Z18;    \
	VINSERTF64X4 $1, Y23, Z19, Z19

#define TURN64 \
	VUNPCKLPD Z17, Z16, Z20;           \
	VUNPCKHPD Z17, Z16, Z21;           \
	VUNPCKLPD Z19, Z18, Z22;           \
	VUNPCKHPD Z19, Z18, Z23;           \
	VSHUFF64X2 $0x88, Z22, Z20, Z16;   \
	VSHUFF64X2 $0x88, Z23, Z21, Z17;   \
	VSHUFF64X2 $0xdd, Z22, Z20, Z18;   \
	VSHUFF64X2 $0xdd, Z23, Z21, Z19

// COLUMN adds one column x. The logarithm of max(x, 2^-1022) = 2^Z8 · Z7 is
// made in Z5 to Z10.
#define COLUMN(x) \
	VPMINUQ x, Z0, Z5;             \
	VPMAXUQ x, Z0, Z0;             \
	VPMAXUQ Z5, Z1, Z1;            \
	VADDPD x, Z2, Z2;              \
	VPMAXUQ x, Z11, Z5;            \
	VPSRLQ $49, Z5, Z6;            \
	VGETMANTPD $0, Z5, Z7;         \
	VGETEXPPD Z5, Z8;              \
	VPERMPD Z13, Z6, Z9;           \
	VPERMPD Z14, Z6, Z6;           \
	VFMSUB213PD Z12, Z9, Z7;       \
	VADDPD Z6, Z8, Z8;             \
	VMOVAPD Z24, Z10;              \
	VFMADD213PD Z25, Z7, Z10;      \
	VFMADD213PD Z26, Z7, Z10;      \
	VFMADD213PD Z27, Z7, Z10;      \
	VFMADD213PD Z28, Z7, Z10;      \
	VFMADD213PD Z29, Z7, Z10;      \
	VFMADD213PD Z30, Z7, Z10;      \
	VFMADD213PD Z31, Z7, Z10;      \
	VFMADD213PD Z8, Z7, Z10;       \
	VFNMADD231PD Z10, x, Z4

// STORE moves x to [low, high] and writes it to dst at offset k.
#define STORE(x, k) \
	VMAXPD.BCST 56(R13), x, x;     \
	VMINPD.BCST 64(R13), x, x;     \
	MOVQ k(R13), AX;               \
	VMOVUPD x, (AX)(R12*1)

// SCORES writes the scores of the group and leaves a bit for each row that is
// not plain in BX.
#define SCORES \
	VPCMPUQ.BCST $2, 88(R13), Z0, K2;      \
	VCMPPD.BCST $13, 72(R13), Z2, K2, K2;  \
	VCMPPD.BCST $2, 80(R13), Z2, K2, K2;   \
	KNOTB K2, K2;                          \
	KMOVB K2, BX;                          \
	VSUBPD Z0, Z12, Z5;                    \
	VDIVPD.BCST 40(R13), Z5, Z5;           \
	VSUBPD Z1, Z0, Z6;                     \
	VSUBPD Z6, Z12, Z6;                    \
	VDIVPD.BCST 48(R13), Z4, Z4;           \
	STORE(Z5, 0);                          \
	STORE(Z6, 8);                          \
	STORE(Z4, 16);                         \
	ADDQ $64, R12

// KERNEL is a whole kernel for one type.
#define KERNEL(load, tail, turn) \
	START;             \
group:                 \
	GROUP;             \
	SUBQ $4, DX;       \
	JLT  last;         \
columns:               \
	AHEAD;             \
	load;              \
	turn;              \
	COLUMN(Z16);       \
	COLUMN(Z17);       \
	COLUMN(Z18);       \
	COLUMN(Z19);       \
	SUBQ $4, DX;       \
	JGE  columns;      \
last:                  \
	ADDQ $4, DX;       \
	JZ   scores;       \
	MASK;              \
	AHEAD;             \
	tail;              \
	turn;              \
	COLUMN(Z16);       \
	SUBQ $1, DX;       \
	JZ   scores;       \
	COLUMN(Z17);       \
	SUBQ $1, DX;       \
	JZ   scores;       \
	COLUMN(Z18);       \
scores:                \
	SCORES;            \
	DECQ CX;           \
	TESTQ BX, BX;      \
	JNZ  return;       \
	TESTQ CX, CX;      \
	JNZ  group;        \
return:                \
	MOVQ n+16(FP), AX; \
	SUBQ CX, AX;       \
	MOVQ AX, done+24(FP); \
	MOVQ BX, odd+32(FP); \
	VZEROUPPER;        \
	RET

// func groups32AVX512(gs *groups, data *float32, n int) (done int, odd uint64)
TEXT ·groups32AVX512(SB), NOSPLIT, $0-40
	KERNEL(LOAD32, TAIL32, TURN32)

// func groups64AVX512(gs *groups, data *float64, n int) (done int, odd uint64)
TEXT ·groups64AVX512(SB), NOSPLIT, $0-40
	KERNEL(LOAD64, TAIL64, TURN64)
