/* Runs files through one harness, as a fuzzer would: each one twice, the second
 * time in the other order, and says whether the two runs came to the same. What
 * a run leaves behind is thus found, and so is every crash that was kept.
 *
 * usage: NAME [FILE | FOLDER]...     without any: corpus/NAME
 *
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
uint64_t fuzz_hash(void);
void fuzz_statistics(void);
extern bool fuzz_wants_hash;

struct input {
    char *path;
    uint8_t *bytes;
    size_t size;
    uint64_t hash;
};

static struct input *inputs;
static size_t count;

static void fail(const char *path, const char *why)
{
    (void)fprintf(stderr, "%s: %s\n", path, why);
    exit(1);
}

static void add_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat status;
    if (!file || fstat(fileno(file), &status) != 0)
        fail(path, strerror(errno));
    inputs = realloc(inputs, (count + 1) * sizeof *inputs);
    if (!inputs)
        fail(path, "no memory");
    struct input *input = &inputs[count++];
    input->path = strdup(path);
    input->size = (size_t)status.st_size;
    input->bytes = malloc(input->size + 1);
    if (!input->path || !input->bytes || fread(input->bytes, 1, input->size, file) != input->size)
        fail(path, "it cannot be read");
    (void)fclose(file);
}

static void add(const char *path)
{
    struct stat status;
    struct dirent **names;
    if (stat(path, &status) != 0)
        fail(path, strerror(errno));
    if (!S_ISDIR(status.st_mode)) {
        add_file(path);
        return;
    }
    int n = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char *whole = NULL;
        if (names[i]->d_name[0] != '.') {
            if (asprintf(&whole, "%s/%s", path, names[i]->d_name) < 0)
                fail(path, "no memory");
            add_file(whole);
        }
        free(whole);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/');
    char corpus[256];
    (void)snprintf(corpus, sizeof corpus, "corpus/%s", name ? name + 1 : argv[0]);
    if (argc < 2)
        add(corpus);
    for (int i = 1; i < argc; i++)
        add(argv[i]);
    if (count == 0)
        fail(argc < 2 ? corpus : argv[1], "there is nothing to run");
    fuzz_wants_hash = true;
    for (size_t run = 0; run < 2 * count; run++) {
        struct input *input = &inputs[run < count ? run : 2 * count - 1 - run];
        (void)fprintf(stderr, "%s\n", input->path); /* the last one is it */
        (void)LLVMFuzzerTestOneInput(input->bytes, input->size);
        if (run >= count && fuzz_hash() != input->hash)
            fail(input->path, "the second run differs from the first: state leaks between runs");
        input->hash = fuzz_hash();
    }
    fuzz_statistics();
    (void)printf("%s: %zu files, each twice\n", name ? name + 1 : argv[0], count);
    for (size_t i = 0; i < count; i++) {
        free(inputs[i].path);
        free(inputs[i].bytes);
    }
    free(inputs);
    return 0;
}
