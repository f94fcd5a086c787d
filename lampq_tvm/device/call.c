/* Calls one kernel of a library on one thread and counts it: `call LIBRARY SYMBOL CASE OUTPUT COUNTER SECONDS THREADS`.
 *
 * A kernel is a packed function of TVM's over DLTensors; what it wants of TVM's runtime is stood in for below, so no runtime
 * is loaded. CASE holds 64-bit words: the number of arrays, how many of them are inputs, and 12 words for each array (DLPack's
 * type code, bits, dimensions, offset and bytes of the data in this file, the shape padded to 6, one unused). OUTPUT receives
 * the bytes of the other arrays, one after another. COUNTER is count.c's file; standard output gets the kernel's address and
 * what one call adds to the counter's row. THREADS is 0, or how many tasks a parallel loop is split into: they run one after
 * another, and each one's instructions follow on standard output, loop by loop. A kernel that runs longer than SECONDS is ended
 * by SIGALRM, also when nobody waits for it any more. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "classes.h"

#define EXPORT __attribute__((visibility("default")))
#define ROW 32 /* slots of a virtual CPU */
#define ARRAYS 32
#define DIMENSIONS 6
#define TASKS 4096
#define POOL ((size_t)1 << 30)
#define DLTENSOR_PTR 7 /* TVMFFITypeIndex */

/* dlpack.h and tvm/ffi/c_api.h, as far as kernels see them */
typedef struct {
    void *data;
    int32_t device_type, device_id, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
} Tensor;
typedef struct {
    int32_t type, padding;
    void *value;
} Any;
typedef struct {
    void *sync;
    int32_t tasks;
} Group;
typedef int (*Kernel)(void *self, const Any *args, int32_t count, Any *result);
typedef int (*Task)(int id, Group *group, void *data);

static char *pool, *top;

/* Workspaces are freed in the reverse order of their allocation; each carries the place to go back to. */
static void *alloc_workspace(int type, int id, uint64_t bytes, int code, int bits) {
    (void)type, (void)id, (void)code, (void)bits;
    char *before = top, *start = top + 64;
    if (bytes > (uint64_t)(pool + POOL - start)) return NULL;
    top = start + (bytes + 63) / 64 * 64;
    *(char **)(start - 64) = before;
    return start;
}

static int free_workspace(int type, int id, void *start) {
    (void)type, (void)id;
    top = *(char **)((char *)start - 64);
    return 0;
}

/* A kernel and a task of exactly two instructions, an INTEGER and a BRANCH. */
__asm__(".text\n.p2align 4\nnothing:\n mov w0, wzr\n ret\n");
extern int nothing(void *self, const Any *args, int32_t count, Any *result);

static const volatile uint64_t *counter;
static int threads, recorded;
static uint64_t spent_by_tasks[TASKS];

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static uint64_t instructions(void) {
    uint64_t sum = 0;
    for (int i = 0; i <= TRANSFER; i++) sum += counter[i];
    return sum;
}

/* What a task adds to the count; the same code whatever is called, so that the rest of it cancels out. */
static __attribute__((noinline)) int timed(Task task, int id, Group *group, void *data, uint64_t *spent) {
    uint64_t before = instructions();
    int failed = task(id, group, data);
    *spent = instructions() - before;
    return failed;
}

static int parallel_launch(Task task, void *data, int tasks) {
    (void)tasks; /* 0, as many as there are threads */
    Group group = {NULL, threads ? threads : 1};
    if (!threads) return task(0, &group, data);
    if (recorded + threads > TASKS) fail("too many parallel loops");
    uint64_t empty;
    timed((Task)(void *)nothing, 0, &group, data, &empty);
    for (int id = 0; id < threads; id++, recorded++) {
        if (timed(task, id, &group, data, &spent_by_tasks[recorded]) != 0) return -1;
        spent_by_tasks[recorded] -= empty - 2;
    }
    return 0;
}

static int parallel_barrier(int id, Group *group) {
    (void)id;
    if (group->tasks > 1) fail("tasks that wait for each other cannot run one after another");
    return 0;
}

EXPORT void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {
    fprintf(stderr, "%s: ", kind);
    for (int32_t i = 0; i < count; i++)
        if (parts[i]) fputs(parts[i], stderr);
    fputc('\n', stderr);
}

EXPORT void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message) {
    TVMFFIErrorSetRaisedFromCStrParts(kind, &message, 1);
}

static void *map_file(const char *path, int protection, int flags, size_t *size) {
    struct stat status;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &status) != 0) fail("a file cannot be read");
    void *start = mmap(NULL, (size_t)status.st_size, protection, flags, file, 0);
    if (start == MAP_FAILED) fail("a file cannot be mapped");
    close(file);
    if (size) *size = (size_t)status.st_size;
    return start;
}

static void stand_in(void *library, const char *name, void *function) {
    void **slot = dlsym(library, name); /* a pointer that TVM's runtime sets when it loads a library */
    if (slot) *slot = function;
}

/* What one call adds to the counts; the same code whatever is called, so that the rest of it cancels out. */
static __attribute__((noinline)) int counted(Kernel kernel, const Any *args, int32_t count, uint64_t *spent) {
    uint64_t before[ROW];
    Any result = {0, 0, NULL};
    for (int i = 0; i < ROW; i++) before[i] = counter[i];
    int failed = kernel(NULL, args, count, &result);
    for (int i = 0; i < ROW; i++) spent[i] = counter[i] - before[i];
    return failed;
}

int main(int argc, char **argv) {
    static Tensor tensors[ARRAYS];
    static Any args[ARRAYS];
    uint64_t spent[ROW], empty[ROW];
    if (argc != 8) fail("usage: call LIBRARY SYMBOL CASE OUTPUT COUNTER SECONDS THREADS");
    alarm((unsigned)atoi(argv[6]));
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(dlerror());
    Kernel kernel = (Kernel)dlsym(library, argv[2]);
    if (!kernel) fail("the library has no such kernel");
    stand_in(library, "__TVMBackendAllocWorkspace", alloc_workspace);
    stand_in(library, "__TVMBackendFreeWorkspace", free_workspace);
    stand_in(library, "__TVMBackendParallelLaunch", parallel_launch);
    stand_in(library, "__TVMBackendParallelBarrier", parallel_barrier);
    pool = top = mmap(NULL, POOL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool == MAP_FAILED) fail("no memory for workspaces");
    int64_t *words = map_file(argv[3], PROT_READ | PROT_WRITE, MAP_PRIVATE, NULL);
    int64_t arrays = words[0], inputs = words[1], *row = words + 2;
    if (arrays > ARRAYS) fail("too many arrays");
    for (int64_t i = 0; i < arrays; i++, row += 12) {
        Tensor tensor = {(char *)words + row[3], 1, 0, (int32_t)row[2], (uint8_t)row[0], (uint8_t)row[1], 1, row + 5, NULL, 0};
        tensors[i] = tensor;
        args[i].type = DLTENSOR_PTR;
        args[i].value = &tensors[i];
    }
    size_t size;
    counter = map_file(argv[5], PROT_READ, MAP_SHARED, &size);
    if (size < ROW * sizeof *counter) fail("the counter's file is too short");
    counted(nothing, args, (int32_t)arrays, empty);
    empty[INTEGER]--, empty[BRANCH]--;
    threads = atoi(argv[7]);
    if (counted(kernel, args, (int32_t)arrays, spent) != 0) return 1; /* it has said why */
    FILE *output = fopen(argv[4], "wb");
    if (!output) fail("the output cannot be written");
    row = words + 2 + 12 * inputs;
    for (int64_t i = inputs; i < arrays; i++, row += 12) fwrite((char *)words + row[3], 1, (size_t)row[4], output);
    if (fclose(output) != 0) fail("the output cannot be written");
    printf("%llu ", (unsigned long long)(uintptr_t)kernel);
    for (int i = 0; i < ROW; i++) printf("%lld ", (long long)(spent[i] - empty[i]));
    for (int i = 0; i < recorded; i++) printf("%lld ", (long long)spent_by_tasks[i]);
    return 0;
}
