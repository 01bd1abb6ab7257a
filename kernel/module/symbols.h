/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _NSCAP_SYMBOLS_H
#define _NSCAP_SYMBOLS_H

/* Finds what a module is not told of. 0, or an error that has been logged with the name. */
int nscap_find_symbols(void);

/* The function or object of that name, of the kernel or of a loaded module; 0 where there is none. */
unsigned long nscap_symbol(const char *module, const char *name);

/* How often the kernel itself has each of n names; its modules do not count. */
void nscap_count_symbols(const char *const *names, int *counts, int n);

/* Whether a module of that name is there, or about to be. */
bool nscap_is_loaded(const char *module);

/* Where the function begins behind the call that tracing uses; 0 where it cannot be traced. */
unsigned long nscap_behind_site(unsigned long function);

#endif
