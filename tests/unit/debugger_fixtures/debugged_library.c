/* Destructors that do what they may, touches of a copied symbol (stdout) among it, and one that does what it may not. */
#include <stdio.h>
#include <stdlib.h>

static int library_data;
static int *victim;

static void library_bye(void) {
    library_data++;
    fprintf(stdout, "bye %d\n", library_data);
    library_data++;
    fprintf(stdout, "bye %d\n", library_data);
    library_data++;
}

static void library_last(void) { library_data--; }
static void scribble(void) { *victim = library_data; }

void library_register(void);
void library_scribble(int *where);

void library_register(void) {
    atexit(library_last);
    atexit(library_bye);
}

void library_scribble(int *where) {
    victim = where;
    atexit(scribble);
}
