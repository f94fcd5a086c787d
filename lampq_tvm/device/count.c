/* A QEMU plugin that counts guest instructions by class: a row of 64-bit slots per virtual CPU, in a file that others map and
 * read (`out=FILE`). The sum of the classes is the number of instructions. Options:
 *   core=FILE    numbers as text: how many kinds of units a core has, then for each class the cycles that one instruction keeps
 *                each kind busy (device/cost.py). The row's last slot then adds up estimated cycles in 1/1024.
 *   blocks=FILE  at the end, one line for each executed block: executions, address, number of instructions, and word:class of
 *                each, the word in hexadecimal; meant for one thread.
 * The prototypes are those of qemu-plugin.h; they have been the same in every version but for qemu_plugin_insn_data. */
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "classes.h"

#define EXPORT __attribute__((visibility("default")))
#define CPUS 128
#define ROW 32
#define CYCLES (ROW - 1)
#define CLASSES (TRANSFER + 1)
#define UNITS 16

struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*cb)(uint64_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *tb, void (*cb)(unsigned, void *), int flags, void *data);
extern void qemu_plugin_register_atexit_cb(uint64_t id, void (*cb)(uint64_t, void *), void *data);
#if PLUGIN_VERSION >= 3
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t length);
#else
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#endif

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

typedef struct Block {
    uint64_t executions;
    uint64_t classes[CLASSES], cycles;
    uint64_t address;
    size_t length;
    struct Block *previous;
    uint32_t words[];
} Block;

static uint64_t *slots;
static Block *last;
static const char *blocks_path;
static double pressure[CLASSES][UNITS];
static int units; /* 0 without a core */

static void executed(unsigned cpu, void *data) {
    Block *block = data;
    uint64_t *row = slots + (size_t)(cpu % CPUS) * ROW;
    block->executions++;
    for (int i = 0; i < CLASSES; i++) row[i] += block->classes[i];
    row[CYCLES] += block->cycles;
}

/* The fourth root of the sum of each unit's pressure to the power of four. */
static uint64_t cycles_of(const uint64_t *classes) {
    double sum = 0;
    for (int unit = 0; unit < units; unit++) {
        double busy = 0;
        for (int i = 0; i < CLASSES; i++) busy += (double)classes[i] * pressure[i][unit];
        sum += busy * busy * busy * busy;
    }
    return (uint64_t)(1024 * __builtin_sqrt(__builtin_sqrt(sum)) + 0.5);
}

static uint32_t word_of(const struct qemu_plugin_insn *insn) {
    uint32_t word = 0;
#if PLUGIN_VERSION >= 3
    qemu_plugin_insn_data(insn, &word, sizeof word);
#else
    memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
#endif
    return word;
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    size_t length = qemu_plugin_tb_n_insns(tb);
    Block *block = calloc(1, sizeof *block + length * sizeof *block->words); /* kept: the emulator may run it until the end */
    if (!block) abort();
    block->address = qemu_plugin_tb_vaddr(tb);
    block->length = length;
    for (size_t i = 0; i < length; i++) {
        block->words[i] = word_of(qemu_plugin_tb_get_insn(tb, i));
        block->classes[class_of(block->words[i])]++;
    }
    block->cycles = cycles_of(block->classes);
    do block->previous = last;
    while (!__atomic_compare_exchange_n(&last, &block->previous, block, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
}

static void write_blocks(uint64_t id, void *data) {
    (void)id, (void)data;
    FILE *file = fopen(blocks_path, "w");
    if (!file) return;
    for (Block *block = last; block; block = block->previous) {
        if (block->executions == 0) continue;
        fprintf(file, "%" PRIu64 " %" PRIx64 " %zu", block->executions, block->address, block->length);
        for (size_t i = 0; i < block->length; i++) fprintf(file, " %08x:%d", block->words[i], class_of(block->words[i]));
        fputc('\n', file);
    }
    fclose(file);
}

static int read_core(const char *path) {
    FILE *file = fopen(path, "r");
    int good = file && fscanf(file, "%d", &units) == 1 && units > 0 && units <= UNITS;
    for (int i = 0; good && i < CLASSES; i++)
        for (int unit = 0; good && unit < units; unit++) good = fscanf(file, "%lf", &pressure[i][unit]) == 1;
    if (file) fclose(file);
    return good;
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
    (void)info;
    const char *out = NULL;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) out = argv[i] + 4;
        else if (strncmp(argv[i], "blocks=", 7) == 0) blocks_path = strdup(argv[i] + 7);
        else if (strncmp(argv[i], "core=", 5) != 0 || !read_core(argv[i] + 5)) return -1;
    }
    int file = out ? open(out, O_RDWR | O_CREAT, 0600) : -1;
    if (file < 0 || ftruncate(file, CPUS * ROW * sizeof *slots) != 0) return -1;
    slots = mmap(NULL, CPUS * ROW * sizeof *slots, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (slots == MAP_FAILED) return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    if (blocks_path) qemu_plugin_register_atexit_cb(id, write_blocks, NULL);
    return 0;
}
