/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * walk-test VECTORS: the walk of xmmuv1-walk.h against recorded walks of the vendor's device model,
 * and the look-up in the device table against its description.
 *
 * VECTORS is a JSON array with one object per line and every number a decimal or a "0x" string.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "walk-library.h"

#define MAX_WORDS 16
#define MAX_MESSAGES 20

struct word {
    uint64_t address;           /* a multiple of 8 */
    uint64_t value;
};

/* Zero but for these words. */
struct memory {
    struct word words[MAX_WORDS];
    size_t count;
};

static int failures;

static void fail(long line, const char *text)
{
    if (failures++ < MAX_MESSAGES) {
        fprintf(stderr, "line %ld: %s\n", line, text);
    }
}

static _Noreturn void malformed(long line, const char *what)
{
    fprintf(stderr, "line %ld: not a vector: %s\n", line, what);
    exit(2);
}

static uint64_t aligned_word(const struct memory *memory, uint64_t address)
{
    for (size_t i = 0; i < memory->count; i++) {
        if (memory->words[i].address == address) {
            return memory->words[i].value;
        }
    }
    return 0;
}

/* Sv32's 4-byte stride makes the device read 8 bytes that lie in two words. */
static uint64_t read_word(void *opaque, uint64_t address)
{
    uint64_t first = address & ~7ULL;
    unsigned shift = (address & 7) * 8;
    uint64_t value = aligned_word(opaque, first) >> shift;

    if (shift != 0) {
        value |= aligned_word(opaque, first + 8) << (64 - shift);
    }
    return value;
}

/* What follows "key": in text. */
static const char *value_of(const char *text, const char *key, long line)
{
    char quoted[32];
    const char *found;

    snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    found = strstr(text, quoted);
    if (!found) {
        malformed(line, key);
    }
    return found + strlen(quoted);
}

static uint64_t number(const char **text, long line)
{
    char *end;
    uint64_t value;

    if (**text == '"') {
        (*text)++;
    }
    errno = 0;
    value = strtoull(*text, &end, 0);
    if (end == *text || errno) {
        malformed(line, "a number is missing or too large");
    }
    *text = *end == '"' ? end + 1 : end;
    return value;
}

static uint64_t number_of(const char *text, const char *key, long line)
{
    const char *value = value_of(text, key, line);

    return number(&value, line);
}

static void read_words(struct memory *memory, const char *text, long line)
{
    const char *at = value_of(text, "words", line);

    memset(memory, 0, sizeof(*memory));
    if (*at++ != '{') {
        malformed(line, "words");
    }
    while (*at != '}') {
        struct word *word = &memory->words[memory->count];

        if (memory->count++ == MAX_WORDS) {
            malformed(line, "too many words");
        }
        word->address = number(&at, line);
        if (word->address % 8 != 0) {
            malformed(line, "a word's address is not a multiple of 8");
        }
        if (*at++ != ':') {
            malformed(line, "words");
        }
        word->value = number(&at, line);
        if (*at == ',') {
            at++;
        }
    }
}

static void check_vector(const char *text, long line)
{
    struct memory memory;
    uint32_t cause = number_of(text, "cause_before", line);
    uint64_t expected_cause = number_of(text, "cause_after", line);
    uint64_t expected_physical = number_of(text, "physical", line);
    bool expected_success = strncmp(value_of(text, "success", line), "true", 4) == 0;
    uint64_t physical;
    char message[160];
    int outcome;

    read_words(&memory, text, line);
    outcome = xmmuv1_walk(read_word, &memory, number_of(text, "td0", line),
                          number_of(text, "addr", line), number_of(text, "flag", line), &cause,
                          &physical);

    if (outcome != expected_success || cause != expected_cause || physical != expected_physical) {
        snprintf(message, sizeof(message),
                 "got outcome %d, cause %" PRIu32 ", physical 0x%" PRIx64
                 "; recorded %d, %" PRIu64 ", 0x%" PRIx64,
                 outcome, cause, physical, expected_success, expected_cause, expected_physical);
        fail(line, message);
    }
}

static void check_entry(long line, struct memory memory, uint32_t rsiddiv, uint32_t rsid,
                        uint64_t expected, uint32_t expected_cause)
{
    uint32_t cause = 0;
    uint64_t dte = xmmuv1_dte(read_word, &memory, 0x80000000, rsiddiv, rsid, &cause);

    if (dte != expected || cause != expected_cause) {
        fail(line, "device table entry: wrong entry, cause or address");
    }
}

static void check_device_table(void)
{
    /* Linear: the rsid is the index, all 16 bits of it. */
    check_entry(__LINE__, (struct memory){ { { 0x80000040, 0x1235 } }, 1 }, 0, 8, 0x1235, 0);
    check_entry(__LINE__, (struct memory){ { { 0x8007fff8, 0x1235 } }, 1 }, 0, 0xffff, 0x1235, 0);
    /* Two levels. */
    check_entry(__LINE__,
                (struct memory){ { { 0x80000000, 0x90000000 }, { 0x90000040, 0x1235 } }, 2 },
                8, 8, 0x1235, 0);
    check_entry(__LINE__,
                (struct memory){ { { 0x80000090, 0x90000000 }, { 0x900001a0, 0x1235 } }, 2 },
                8, 0x1234, 0x1235, 0);
    check_entry(__LINE__,
                (struct memory){ { { 0x80000918, 0x90000000 }, { 0x90000020, 0x1235 } }, 2 },
                4, 0x1234, 0x1235, 0);
    /* Low bits in the first level: cause 1, and the look-up goes on with them in the address. */
    check_entry(__LINE__,
                (struct memory){ { { 0x80000000, 0x90000001 }, { 0x90000040, 0x123500 } }, 2 },
                8, 8, 0x1235, 1);
    /* Nothing in the first level: the second is read at address 0. */
    check_entry(__LINE__, (struct memory){ { { 0x80000000, 0 }, { 0x40, 0x1235 } }, 2 },
                8, 8, 0x1235, 0);
}

static void check_unknown_modes(void)
{
    for (uint64_t mode = 0; mode < 16; mode++) {
        bool known = mode <= 1 || (mode >= 8 && mode <= 10);
        struct memory memory = { 0 };
        uint32_t cause = 0;
        uint64_t physical;
        int outcome = xmmuv1_walk(read_word, &memory, mode << 60, 0x1000, 1, &cause, &physical);

        if ((outcome == 2) == known) {
            fail(__LINE__, "a mode is known that should not be, or the other way round");
        }
    }
}

int main(int argc, char **argv)
{
    char line[4096];
    long number = 0, vectors = 0;
    FILE *file;

    if (argc != 2) {
        fprintf(stderr, "usage: walk-test VECTORS.json\n");
        return 2;
    }
    file = fopen(argv[1], "r");
    if (!file) {
        fprintf(stderr, "walk-test: %s: %s\n", argv[1], strerror(errno));
        return 2;
    }
    while (fgets(line, sizeof(line), file)) {
        number++;
        if (!strchr(line, '\n') && !feof(file)) {
            malformed(number, "line too long");
        }
        if (line[0] == '{') {
            vectors++;
            check_vector(line, number);
        }
    }
    fclose(file);
    if (vectors == 0) {
        fprintf(stderr, "walk-test: no vectors in %s\n", argv[1]);
        return 2;
    }

    check_device_table();
    check_unknown_modes();

    if (failures) {
        fprintf(stderr, "walk-test: %d differences\n", failures);
        return 1;
    }
    printf("walk-test: %ld recorded walks agree\n", vectors);
    return 0;
}
