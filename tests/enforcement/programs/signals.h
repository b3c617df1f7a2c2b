/* libsignals.so: a destructor during which signals come, by name. */
#ifndef ENFORCEMENT_SIGNALS_H
#define ENFORCEMENT_SIGNALS_H

int signals_register(const char *scenario, char *other);

/* A handler of the library's that writes to the byte that `signals_register` was given. */
void signals_handler(int signal);

#endif
