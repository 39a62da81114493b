// A PKCS#11 library for tests: C_Encrypt does what the first byte of its input says, and the rest names
// a file or an address. It reports how the attempt ended as its output.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

typedef unsigned long ul;
typedef unsigned char by;

static ul ok(void) { return 0; }

static ul initialize(void *args)
{
	const char *how = getenv("HOSTILE_INIT");
	if (how && !strcmp(how, "hang")) for (;;) pause();
	return how && !strcmp(how, "arguments") ? 7 : 0;
}

static ul slots(by present, ul *ids, ul *n) { if (ids) ids[0] = 7; *n = 1; return 0; }
static ul token(ul slot, by *info) { memset(info, ' ', 96); memset(info + 96, 0, 112); info[97] = 4; return 0; }
static ul open_session(ul slot, ul flags, void *a, void *b, ul *h) { static ul next; *h = ++next; return 0; }

static ul login(ul session, ul user, by *pin, ul n) { return n == 4 && memcmp(pin, "1234", 4) == 0 ? 0 : 0xa0; }

static int attempt(by what, char *arg)
{
	switch (what) {
	case 'c': abort();
	case 'h': for (;;) pause();
	case 'l': for (;;) { char *p = malloc(1 << 20); if (!p) return errno; memset(p, 1, 1 << 20); }
	case 'x': { char *argv[] = { arg, NULL }; execv(arg, argv); return errno; }
	case 'n': return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
	case 'u': return socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? errno : 0;
	case 'r': return open(arg, O_RDONLY) < 0 ? errno : 0;
	case 'w': return open(arg, O_CREAT | O_WRONLY, 0600) < 0 ? errno : 0;
	case 'v': { char b; struct iovec i = { &b, 1 }; return process_vm_readv(getppid(), &i, 1, &i, 1, 0) < 0 ? errno : 0; }
	case 'd': return prctl(PR_GET_DUMPABLE);
	case 'o': { struct rlimit r; getrlimit(RLIMIT_CORE, &r); return r.rlim_cur != 0; }
	case 'e': return getenv(arg) != NULL;
	}
	return 0;
}

static ul encrypt(ul session, by *in, ul n, by *out, ul *outn)
{
	char arg[512] = { 0 };
	memcpy(arg, in + 1, n - 1 < sizeof arg ? n - 1 : sizeof arg - 1);
	out[0] = attempt(in[0], arg);
	*outn = 1;
	return 0;
}

static struct { by version[8]; void *fn[68]; } list;

ul C_GetFunctionList(void **out)
{
	for (int i = 0; i < 68; i++) list.fn[i] = ok;
	list.fn[0] = initialize, list.fn[4] = slots, list.fn[6] = token, list.fn[12] = open_session, list.fn[18] = login, list.fn[30] = encrypt;
	list.version[0] = 2, list.version[1] = 40;
	*out = &list;
	return 0;
}
