/* Compiled for the guest and for this machine; every function that a test compares is `TEST(name)`: four numbers in, one
 * out, no undefined behaviour. */
typedef unsigned long long u64;
typedef long long s64;
typedef unsigned int u32;
typedef int s32;
typedef unsigned short u16;
typedef short s16;
typedef unsigned char u8;
typedef signed char s8;
typedef unsigned __int128 u128;
typedef __int128 s128;

#define TEST(name) u64 name(u64 a, u64 b, u64 c, u64 d)
#define NOINLINE __attribute__((noinline))

/* The instruction itself on the guest, what the specification says of it here. */
#ifdef __riscv
#define INSTRUCTION(name, expression)                           \
	TEST(op_##name)                                             \
	{                                                           \
		u64 result;                                             \
		__asm__(#name " %0, %1, %2" : "=r"(result) : "r"(a), "r"(b)); \
		return result;                                          \
	}
#else
#define INSTRUCTION(name, expression) TEST(op_##name) { return expression; }
#endif
#define SIGNED(x) ((s64)(x))
#define WORD(x) ((u64)(s64)(s32)(u32)(x))
#define MIN64 ((s64)1 << 63)

INSTRUCTION(add, a + b)
INSTRUCTION(sub, a - b)
INSTRUCTION(sll, a << (b & 63))
INSTRUCTION(slt, SIGNED(a) < SIGNED(b))
INSTRUCTION(sltu, a < b)
INSTRUCTION(xor, a ^ b)
INSTRUCTION(srl, a >> (b & 63))
INSTRUCTION(sra, (u64)(SIGNED(a) >> (b & 63)))
INSTRUCTION(or, a | b)
INSTRUCTION(and, a & b)
INSTRUCTION(addw, WORD(a + b))
INSTRUCTION(subw, WORD(a - b))
INSTRUCTION(sllw, WORD((u32)a << (b & 31)))
INSTRUCTION(srlw, WORD((u32)a >> (b & 31)))
INSTRUCTION(sraw, WORD((s32)(u32)a >> (b & 31)))
INSTRUCTION(mul, a * b)
INSTRUCTION(mulh, (u64)((s128)SIGNED(a) * (s128)SIGNED(b) >> 64))
INSTRUCTION(mulhsu, (u64)((s128)SIGNED(a) * (s128)b >> 64))
INSTRUCTION(mulhu, (u64)((u128)a * b >> 64))
INSTRUCTION(div, !b ? ~0ULL : a == (u64)MIN64 && !~b ? a : (u64)(SIGNED(a) / SIGNED(b)))
INSTRUCTION(divu, !b ? ~0ULL : a / b)
INSTRUCTION(rem, !b ? a : a == (u64)MIN64 && !~b ? 0 : (u64)(SIGNED(a) % SIGNED(b)))
INSTRUCTION(remu, !b ? a : a % b)
INSTRUCTION(mulw, WORD((u32)a * (u32)b))
INSTRUCTION(divw, !(u32)b ? ~0ULL : WORD((s64)(s32)a / (s64)(s32)b))
INSTRUCTION(divuw, !(u32)b ? ~0ULL : WORD((u32)a / (u32)b))
INSTRUCTION(remw, !(u32)b ? WORD(a) : WORD((s64)(s32)a % (s64)(s32)b))
INSTRUCTION(remuw, !(u32)b ? WORD(a) : WORD((u32)a % (u32)b))

/* What a driver's `.capable` looks like. */
static _Bool cache_coherency = 1;
_Bool *volatile option = &cache_coherency;

TEST(capable)
{
	(void)a, (void)c, (void)d;
	switch ((u32)b & 7) {
	case 0:
		return *option;
	case 1:
		return 1;
	default:
		return 0;
	}
}

/* Dense enough for a jump table. */
TEST(jump_table)
{
	switch (a % 17) {
	case 0: return b + c;
	case 1: return b - c;
	case 2: return b * c;
	case 3: return b ^ d;
	case 4: return b | d;
	case 5: return b & d;
	case 6: return b << (c & 63);
	case 7: return b >> (c & 63);
	case 8: return (u64)((s64)b >> (c & 63));
	case 9: return b / (c | 1);
	case 10: return b % (c | 1);
	case 11: return ~b;
	case 12: return b < c;
	case 13: return (s64)b < (s64)c;
	case 14: return (u32)b * (u32)c;
	default: return d + 15;
	}
}

TEST(sparse_switch)
{
	switch (a & 0xffff) {
	case 0x10: return b;
	case 0x7fff: return c;
	case 0x8000: return d;
	case 0xffff: return b + c;
	}
	switch ((s32)b) {
	case -1: return 1;
	case -2147483647 - 1: return 2;
	case 0: return 3;
	}
	return a;
}

static NOINLINE u64 mix(u64 value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ULL;
	return value ^ value >> 27;
}

TEST(loop)
{
	u64 sum = a;
	for (u32 i = 0; i < (u32)(b % 50); i++) {
		if (i % 7 == 3)
			continue;
		sum = sum * 31 + (c ^ i);
		/* With some d the bit comes back for ever. */
		for (u32 j = 0; j < 64 && sum & 0x8000000000000000ULL; j++)
			sum = sum << 1 ^ d;
	}
	return sum;
}

TEST(nested_calls) { return mix(mix(a) + mix(b ^ mix(c))) - mix(d); }

static NOINLINE u64 ackermann(u64 m, u64 n)
{
	if (!m)
		return n + 1;
	return ackermann(m - 1, n ? ackermann(m, n - 1) : 1);
}

TEST(recursion)
{
	(void)c, (void)d;
	return ackermann(a % 3, b % 6);
}

/* Ten arguments: the last two go over the caller's own stack. */
static NOINLINE u64 many(u64 a, u32 b, s32 c, u16 d, s16 e, u8 f, s8 g, u64 h, u64 i, u64 j)
{
	return a + b * 3ULL + (u64)(s64)c * 5 + d * 7ULL + (u64)(s64)e * 11 + f * 13ULL + (u64)(s64)g * 17 + h * 19 + i * 23 +
	       j * 29;
}

TEST(many_arguments)
{
	return many(a, (u32)b, (s32)c, (u16)d, (s16)a, (u8)b, (s8)c, d, a ^ b, c ^ d);
}

static u64 plus(u64 a, u64 b) { return a + b; }
static u64 minus(u64 a, u64 b) { return a - b; }
static u64 times(u64 a, u64 b) { return a * b; }
static u64 (*const operations[])(u64, u64) = { plus, minus, times };

TEST(function_pointers) { return operations[a % 3](operations[b % 3](a, c), d); }

struct node {
	u8 byte;
	s8 signed_byte;
	u16 half;
	s16 signed_half;
	u32 word;
	s32 signed_word;
	u64 value;
	u32 low : 5, middle : 11, high : 16;
	s32 signed_low : 7, rest : 25;
	const struct node *next;
};

static const struct node third = { 0x80, -128, 0x8000, -32768, 0x80000000, -2147483647 - 1, 1ULL << 63, 31, 1024, 5, -64, 9, 0 };
static const struct node second = { 0xff, -1, 0xffff, -1, 0xffffffff, -1, ~0ULL, 1, 2047, 65535, 63, -9, &third };
static const struct node first = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, &second };
const struct node *volatile head = &first;

TEST(structures)
{
	u64 sum = a;
	for (const struct node *node = head; node; node = node->next) {
		sum += node->byte * b + (u64)(s64)node->signed_byte * c;
		sum ^= node->half * d + (u64)(s64)node->signed_half;
		sum += (u64)node->word * 3 + (u64)(s64)node->signed_word * b;
		sum ^= node->value + node->low + node->middle * 7 + node->high * c;
		sum += (u64)(s64)node->signed_low + (u64)(s64)node->rest;
	}
	return sum;
}

static const u32 table[16] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 0xdeadbeef };

TEST(local_arrays)
{
	u64 words[16];
	u16 halves[16];
	s8 bytes[16];
	for (int i = 0; i < 16; i++) {
		words[i] = a * table[i] + b;
		halves[i] = (u16)(words[i] >> 8);
		bytes[i] = (s8)(words[i] >> 16);
	}
	for (int i = 0; i < 15; i++)
		for (int j = 0; j < 15 - i; j++)
			if (words[j] > words[j + 1]) {
				u64 swap = words[j];
				words[j] = words[j + 1];
				words[j + 1] = swap;
			}
	return words[c & 15] + halves[d & 15] + (u64)(s64)bytes[(c ^ d) & 15];
}

/* Fresh bit fields: the word is read before it was ever written. */
TEST(bit_fields)
{
	struct {
		u64 one : 3, two : 17, three : 30;
		s64 four : 9;
	} fields;
	fields.two = a;
	fields.one = b;
	fields.four = (s64)(c & 0x1ff) - 256;
	fields.three = d;
	return fields.one + fields.two * 3 + fields.three * 5 + (u64)(s64)fields.four * 7;
}

TEST(words)
{
	s32 x = (s32)a, y = (s32)b, z = (s32)c;
	u32 sum = (u32)x + (u32)y;
	s32 product = (s32)((u32)x * (u32)z);
	s32 quotient = (z | 1) == -1 ? 0 : x / (z | 1);
	return (u64)(s64)(s32)(sum << (d & 31)) + (u64)(s64)(product >> (d & 31)) + (sum >> (d & 31)) + (u64)(s64)quotient +
	       (u32)y % ((u32)z | 1);
}

TEST(wide_numbers)
{
	u128 product = (u128)a * b + c;
	s128 other = (s128)(s64)a * (s64)d;
	return (u64)(product >> 64) ^ (u64)product ^ (u64)(other >> 64) ^ (u64)(product < (u128)other);
}

TEST(strings)
{
	static const char text[] = "IOMMU_CAP_CACHE_COHERENCY";
	u64 hash = a;
	for (const char *at = text + b % 10; *at; at++)
		hash = hash * 33 + (u8)*at;
	return hash;
}

TEST(fences)
{
	__sync_synchronize();
	u64 result = a + *(volatile u32 *)&table[b & 15];
	__sync_synchronize();
	return result;
}

#ifdef __riscv
/* Not for comparison: each ends in its own way. */
u64 variable;
void writes(void) { *(volatile u16 *)&variable = 1; }
void recurses(void) { volatile u8 frame[1024]; frame[0] = 1; recurses(); frame[1] = 2; }
void spins(void) { for (;;) __asm__ volatile(""); }
void nothing(void) {}
__asm__(".globl reads_tp, reads_gp, reads_nowhere, uses_callers_stack, jumps_into_stack, returns_gp\n"
	"reads_tp: ld a0, 16(tp)\n ret\n"
	"reads_gp: mv a0, gp\n ret\n"
	"reads_nowhere: li a0, 64\n lhu a0, 2(a0)\n ret\n"
	"uses_callers_stack: ld a0, 0(sp)\n ret\n"
	"jumps_into_stack: addi sp, sp, -16\n jr sp\n");
#endif
