// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Debian's libunwind.a is compiled for glibc with _FORTIFY_SOURCE, so it calls these two for its
 * messages. musl has the functions without the check.
 */
#include <stdarg.h>
#include <stdio.h>

int __vfprintf_chk(FILE *stream, int flag, const char *format, va_list arguments)
{
	(void)flag;
	return vfprintf(stream, format, arguments);
}

int __vsnprintf_chk(char *text, size_t size, int flag, size_t room, const char *format,
		    va_list arguments)
{
	(void)flag;
	return vsnprintf(text, size < room ? size : room, format, arguments);
}
