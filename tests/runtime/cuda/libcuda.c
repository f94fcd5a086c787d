/* A libcuda for tests: device memory is host memory, kernels are not run, every call is written down and can be told to fail. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256 };
typedef struct { char name[128]; int parameters; } function_t;

static char *log_text;
static size_t log_size, log_room;
static char fail_name[64];
static int fail_code, version = 12060, devices = 1, capability = 87, shared_bytes = 163 << 10;
static size_t memory = 1 << 30, used;
static function_t functions[MOST];
static int function_count;
static struct { void *address; size_t size; } blocks[4096];
static int block_count, capturing, graphs;

static int say(const char *entry, const char *format, ...) {
    char line[2048];
    int n = snprintf(line, sizeof line, "%s", entry);
    va_list args;
    va_start(args, format);
    n += vsnprintf(line + n, sizeof line - n, format, args);
    va_end(args);
    if (log_size + n + 2 > log_room) log_text = realloc(log_text, log_room = 2 * log_room + 4096);
    memcpy(log_text + log_size, line, n);
    log_text[log_size += n] = '\n';
    log_text[++log_size] = 0;
    return strcmp(entry, fail_name) ? 0 : fail_code;
}

/* What a test sets and reads. */
void stub_reset(void) {
    log_size = 0;
    if (log_text) *log_text = 0;
    *fail_name = 0;
    version = 12060, devices = 1, capability = 87, shared_bytes = 163 << 10, memory = 1 << 30;
    function_count = capturing = 0;
}
const char *stub_log(void) { return log_text ? log_text : ""; }
void stub_clear(void) { if (log_text) *log_text = 0; log_size = 0; }
void stub_fail(const char *entry, int code) { snprintf(fail_name, sizeof fail_name, "%s", entry); fail_code = code; }
void stub_version(int v) { version = v; }
void stub_devices(int n) { devices = n; }
void stub_capability(int c) { capability = c; }
void stub_shared(int bytes) { shared_bytes = bytes; }
void stub_memory(size_t bytes) { memory = bytes; }
size_t stub_used(void) { return used; }
void stub_function(const char *name, int parameters) {
    snprintf(functions[function_count].name, 128, "%s", name);
    functions[function_count++].parameters = parameters;
}

int cuInit(unsigned f) { int r = say("cuInit", " %u", f); return r ? r : devices ? 0 : 100; }
int cuDriverGetVersion(int *v) {
    const char *set = getenv("STUB_VERSION");
    *v = set ? atoi(set) : version;
    return say("cuDriverGetVersion", "");
}
int cuGetErrorName(int e, const char **s) { *s = e == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_STUB"; return 0; }
int cuGetErrorString(int e, const char **s) { *s = e == 2 ? "out of memory" : "told to fail"; return 0; }
int cuDeviceGetCount(int *n) { *n = devices; return say("cuDeviceGetCount", ""); }
int cuDeviceGet(int *d, int i) { *d = 0; return say("cuDeviceGet", " %d", i); }
int cuDeviceGetName(char *s, int n, int d) { snprintf(s, n, "Stub"); return say("cuDeviceGetName", " %d", d); }
int cuDeviceGetAttribute(int *v, int a, int d) {
    *v = a == 75 ? capability / 10 : a == 76 ? capability % 10 : a == 97 ? shared_bytes : 0;
    return say("cuDeviceGetAttribute", " %d %d", a, d);
}
int cuDeviceTotalMem_v2(size_t *n, int d) { *n = memory; return say("cuDeviceTotalMem_v2", " %d", d); }
int cuDevicePrimaryCtxRetain(void **c, int d) { *c = (void *)1; return say("cuDevicePrimaryCtxRetain", " %d", d); }
int cuDevicePrimaryCtxRelease_v2(int d) { return say("cuDevicePrimaryCtxRelease_v2", " %d", d); }
int cuCtxSetCurrent(void *c) { return say("cuCtxSetCurrent", " %p", c); }
int cuMemGetInfo_v2(size_t *f, size_t *t) { *f = memory - used, *t = memory; return say("cuMemGetInfo_v2", ""); }
int cuModuleLoadData(void **m, const char *image) {
    *m = (void *)image;
    return say("cuModuleLoadData", "");
}
int cuModuleUnload(void *m) { return say("cuModuleUnload", ""); }
int cuModuleGetFunction(void **f, void *m, const char *name) {
    int i = 0;
    while (i < function_count && strcmp(functions[i].name, name)) i++;
    if (i == function_count) stub_function(name, 0); /* its arguments will not be written down */
    *f = &functions[i];
    return say("cuModuleGetFunction", " %s", name);
}
int cuFuncSetAttribute(void *f, int a, int v) { return say("cuFuncSetAttribute", " %s %d %d", ((function_t *)f)->name, a, v); }
static int take(const char *entry, uint64_t *p, size_t n) {
    int r = say(entry, " %zu", n);
    if (r) return r;
    if (used + n > memory) return 2;
    used += n;
    blocks[block_count].address = aligned_alloc(256, (n + 255) / 256 * 256);
    memset(blocks[block_count].address, 0xAA, n);
    blocks[block_count].size = n;
    *p = (uint64_t)blocks[block_count++].address;
    return 0;
}
static int give(const char *entry, uint64_t p) {
    for (int i = 0; i < block_count; i++)
        if ((uint64_t)blocks[i].address == p) {
            used -= blocks[i].size;
            free(blocks[i].address);
            blocks[i] = blocks[--block_count];
            return say(entry, " %lx", (unsigned long)p);
        }
    return say(entry, " unknown") ? fail_code : 1;
}
static int outside(uint64_t p, size_t n) {
    for (int i = 0; i < block_count; i++)
        if (p >= (uint64_t)blocks[i].address && p + n <= (uint64_t)blocks[i].address + blocks[i].size) return 0;
    return 1;
}
int cuMemAlloc_v2(uint64_t *p, size_t n) { return take("cuMemAlloc_v2", p, n); }
int cuMemFree_v2(uint64_t p) { return give("cuMemFree_v2", p); }
int cuMemHostAlloc(uint64_t *p, size_t n, unsigned f) { return take("cuMemHostAlloc", p, n); }
int cuMemFreeHost(uint64_t p) { return give("cuMemFreeHost", p); }
int cuMemcpyHtoD_v2(uint64_t d, void *h, size_t n) {
    int r = say("cuMemcpyHtoD_v2", " %lx %zu", (unsigned long)d, n);
    if (!r && outside(d, n)) return 1;
    if (!r) memcpy((void *)d, h, n);
    return r;
}
int cuMemcpyDtoH_v2(void *h, uint64_t d, size_t n) {
    int r = say("cuMemcpyDtoH_v2", " %lx %zu", (unsigned long)d, n);
    if (!r && outside(d, n)) return 1;
    if (!r) memcpy(h, (void *)d, n);
    return r;
}
int cuMemcpyHtoDAsync_v2(uint64_t d, void *h, size_t n, void *s) {
    int r = say("cuMemcpyHtoDAsync_v2", " %lx %zu", (unsigned long)d, n);
    if (!r && (outside(d, n) || outside((uint64_t)h, n))) return 1;
    if (!r) memcpy((void *)d, h, n);
    return r;
}
int cuMemcpyDtoHAsync_v2(void *h, uint64_t d, size_t n, void *s) {
    int r = say("cuMemcpyDtoHAsync_v2", " %lx %zu", (unsigned long)d, n);
    if (!r && (outside(d, n) || outside((uint64_t)h, n))) return 1;
    if (!r) memcpy(h, (void *)d, n);
    return r;
}
int cuStreamCreate(void **s, unsigned f) { *s = (void *)2; return say("cuStreamCreate", " %u", f); }
int cuStreamSynchronize(void *s) { return capturing ? 900 : say("cuStreamSynchronize", " %p", s); }
int cuStreamDestroy_v2(void *s) { return say("cuStreamDestroy_v2", ""); }
int cuStreamBeginCapture_v2(void *s, int mode) {
    int r = say("cuStreamBeginCapture_v2", " %d", mode);
    capturing = !r;
    return r;
}
int cuStreamEndCapture(void *s, void **g) { capturing = 0; *g = (void *)(intptr_t)++graphs; return say("cuStreamEndCapture", ""); }
int cuGraphInstantiateWithFlags(void **e, void *g, unsigned long long f) {
    *e = g;
    return say("cuGraphInstantiateWithFlags", " %ld", (long)(intptr_t)g);
}
int cuGraphLaunch(void *e, void *s) { return say("cuGraphLaunch", " %ld", (long)(intptr_t)e); }
int cuGraphExecDestroy(void *e) { return say("cuGraphExecDestroy", " %ld", (long)(intptr_t)e); }
int cuGraphDestroy(void *g) { return say("cuGraphDestroy", " %ld", (long)(intptr_t)g); }
int cuEventCreate(void **e, unsigned f) { *e = (void *)3; return say("cuEventCreate", " %u", f); }
int cuEventRecord(void *e, void *s) { return say("cuEventRecord", ""); }
int cuEventSynchronize(void *e) { return say("cuEventSynchronize", ""); }
int cuEventElapsedTime(float *ms, void *a, void *b) { *ms = 1.5f; return say("cuEventElapsedTime", ""); }
int cuEventDestroy_v2(void *e) { return say("cuEventDestroy_v2", ""); }
typedef struct { int id; char pad[4]; int value[16]; } attribute_t;
typedef struct { unsigned g[3], b[3], shared; void *stream; attribute_t *attributes; unsigned count; } config_t;
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *s, void **parameters, void **extra) {
    char text[1024] = "";
    function_t *function = f;
    for (int i = 0, n = 0; i < function->parameters; i++)
        n += snprintf(text + n, sizeof text - n, " %lx", (unsigned long)*(uint64_t *)parameters[i]);
    if (capturing && !strcmp(fail_name, "captured launch")) return fail_code;
    return say("cuLaunchKernel", " %s %u,%u,%u %u,%u,%u %u%s", function->name, gx, gy, gz, bx, by, bz, shared, text);
}
int cuLaunchKernelEx(const config_t *c, void *f, void **parameters, void **extra) {
    if (c->count != 1 || c->attributes->id != 6 || c->attributes->value[0] != 1) return 1;
    int r = say("cuLaunchKernelEx", "");
    return r ? r : cuLaunchKernel(f, c->g[0], c->g[1], c->g[2], c->b[0], c->b[1], c->b[2], c->shared, c->stream, parameters, extra);
}
