/* The words for a client on its way in, for the suites of logins, accounts and
 * commands: what it says to the directory, its greeting, its password in each
 * form (PROTOCOL 3.1, 3.2, 4), and what a login would be told.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LOGINS_H
#define LOGINS_H

#include "clients.h"

#define DIR_REQUEST "PROD=NASCAR-PS2-2004\nVERS=\"PS2/XXX-Jul  2 2003\"\nLANG=en\nSLUS=BASLUS-20824\n"
#define ADDR_REQUEST "ADDR=192.0.2.100\nPORT=50000\n"
#define SKEY_REQUEST "SKEY=$5075626c6963204b6579\n"
#define BUDDY_PRODUCT "PROD=NASCAR\nVERS=XXX\nPRES=NASCAR2004\n"

/* addr and skey; the key is then the client's. */
void greet(struct raw *r);
struct raw *guest(void);
/* The password as it goes over the wire, in the form of the session key (4). */
const char *enciphered(struct raw *r, const char *password);
/* The same in the form of the directory's MASK. */
const char *masked(const char *mask, const char *password);
/* NAME, PASS as it stands here, and more lines. */
const char *credentials(const char *name, const char *pass, const char *more);
void say_auth(struct raw *r, const char *name, const char *password);
const char *sign_up_tags(struct raw *r, const char *name, const char *password, const char *more);
const struct got *sign_up(struct raw *r, const char *name, const char *password);
/* What a login of this name would get; the connection is gone afterwards. */
const char *login_code(const char *name, const char *password);
void can_log_in(const char *name, const char *password);
/* The personas of an account, as the next login tells. */
const char *personas_of(const char *name, const char *password);
bool is_hex(const char *text, size_t digits);
/* `Y-M-D h:m:s`, and not later than now. */
bool is_past_date(const char *text);

#endif
