/* Proxies in front of a server, as live_address.c has them: processes of their own that
 * say by the PROXY protocol whose each connection is.
 *
 * SPDX-License-Identifier: MIT */
#ifndef PROXIES_H
#define PROXIES_H

#include "server.h"

#define PROXY_IP 0x7F000063u  /* 127.0.0.99: where they come from, as the server sees it */
#define SERVER_IP 0x7F000003u /* where the server is; the proxies are at 127.0.0.1, as consoles think */

/* Starts a server with a proxy in front of each of its ports, with the same number, that
 * sends a header of this version, 1 or 2. All of them end with the case. Where another
 * program has one of these numbers at 127.0.0.1, the server is started again with others. */
struct server *start_behind_proxies(const char *const *extra, int version);

#endif
