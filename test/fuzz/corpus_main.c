/* Feeds every file of the directories given to one target, once: the corpus as a regression test,
 * with any compiler. Prints the number of files; a crash names the file. */
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_MAX (1 << 20)

static char current[4096];
static unsigned files;

static void on_crash(int sig)
{
    static const char text[] = "\ncrashed on ";
    (void)!write(2, text, sizeof(text) - 1);
    (void)!write(2, current, strlen(current));
    (void)!write(2, "\n", 1);
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

static void feed(const char *path)
{
    FILE *f = fopen(path, "rb");
    REQUIRE(f != NULL);
    uint8_t *data = malloc(INPUT_MAX);
    REQUIRE(data != NULL);
    size_t n = fread(data, 1, INPUT_MAX, f);
    fclose(f);
    uint8_t *exact = malloc(n > 0 ? n : 1);
    REQUIRE(exact != NULL);
    memcpy(exact, data, n);
    free(data);
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    files++;
}

static void feed_directory(const char *dir)
{
    struct dirent **list = NULL;
    int n = scandir(dir, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.') {
            (void)snprintf(current, sizeof(current), "%s/%s", dir, list[i]->d_name);
            feed(current);
        }
        free(list[i]);
    }
    free(list);
}

int main(int argc, char **argv)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)signal(signals[i], on_crash);
    (void)alarm(120);
    for (int i = 1; i < argc; i++)
        feed_directory(argv[i]);
    printf("%u inputs\n", files);
    return files > 0 ? 0 : 1;
}
