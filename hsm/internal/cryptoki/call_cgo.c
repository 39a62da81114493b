//go:build cgo && !windows

#include "call_cgo.h"
#include <dlfcn.h>
#include <string.h>

enum { M_OAEP = 0x9, M_CBC = 0x1082, M_CBC_PAD = 0x1085, M_GCM = 0x1087 };

typedef struct { sg_ulong type; void *param; sg_ulong n; } mechanism;
typedef struct { sg_byte *iv; sg_ulong ivn, ivbits; sg_byte *aad; sg_ulong aadn, tagbits; } gcm;
typedef struct { sg_ulong hash, mgf, source; void *data; sg_ulong n; } oaep;

typedef sg_ulong (*init_fn)(sg_ulong, mechanism *, sg_ulong);
typedef sg_ulong (*work_fn)(sg_ulong, sg_byte *, sg_ulong, sg_byte *, sg_ulong *);
typedef sg_ulong (*login_fn)(sg_ulong, sg_ulong, sg_byte *, sg_ulong);

// sg_load returns NULL where the file is a PKCS#11 library, else a text that the caller frees. The library
// stays loaded until the process ends: several crash when they are unloaded.
char *sg_load(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		const char *why = dlerror();
		return strdup(why != NULL ? why : "the loader gives no reason");
	}
	if (dlsym(handle, "C_GetFunctionList") == NULL) {
		dlclose(handle);
		return strdup("a library, but without C_GetFunctionList");
	}
	return NULL;
}

sg_ulong sg_login(sg_list *l, sg_ulong session, sg_ulong user, sg_byte *pin, sg_ulong n)
{
	return ((login_fn)l->fn[SG_LOGIN])(session, user, pin, n);
}

sg_ulong sg_crypt(sg_list *l, sg_ulong session, sg_ulong operation, sg_ulong type, sg_ulong key, sg_ulong hash, sg_ulong mgf,
		  sg_byte *iv, sg_ulong ivn, sg_byte *aad, sg_ulong aadn, sg_byte *in, sg_ulong inn, sg_byte *out, sg_ulong *outn)
{
	static const int inits[] = { 0, SG_ENCRYPT_INIT, SG_DECRYPT_INIT, SG_SIGN_INIT };
	static const int works[] = { 0, SG_ENCRYPT, SG_DECRYPT, SG_SIGN };
	mechanism m = { type, NULL, 0 };
	gcm g = { iv, ivn, ivn * 8, aadn != 0 ? aad : NULL, aadn, 128 };
	oaep o = { hash, mgf, 1, NULL, 0 };

	switch (type) {
	case M_GCM:
		m.param = &g, m.n = sizeof g;
		break;
	case M_CBC:
	case M_CBC_PAD:
		m.param = iv, m.n = ivn;
		break;
	case M_OAEP:
		m.param = &o, m.n = sizeof o;
		break;
	}
	sg_ulong rv = ((init_fn)l->fn[inits[operation]])(session, &m, key);
	if (rv != 0) {
		return rv;
	}
	return ((work_fn)l->fn[works[operation]])(session, in, inn, out, outn);
}
