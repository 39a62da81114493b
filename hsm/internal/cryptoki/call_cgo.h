// One PKCS#11 operation per crossing from Go to C, with the output buffer sized by
// the caller: a library's answer to the length query is not always right (NSS leaves the GCM tag out).
#include <stdlib.h>

typedef unsigned long sg_ulong;
typedef unsigned char sg_byte;

// sg_list is CK_FUNCTION_LIST as far as this file reads it: a version, then the
// functions in the standard's order (PKCS#11 v2.40, pkcs11f.h).
typedef struct {
	sg_byte major, minor;
	void *fn[68];
} sg_list;

enum { SG_LOGIN = 18, SG_ENCRYPT_INIT = 29, SG_ENCRYPT = 30, SG_DECRYPT_INIT = 33, SG_DECRYPT = 34, SG_SIGN_INIT = 42, SG_SIGN = 43 };


// sg_context is the head of miekg/pkcs11's C context.
typedef struct {
	void *handle;
	sg_list *list;
} sg_context;

char *sg_load(const char *path);
sg_ulong sg_login(sg_list *l, sg_ulong session, sg_ulong user, sg_byte *pin, sg_ulong n);
sg_ulong sg_crypt(sg_list *l, sg_ulong session, sg_ulong operation, sg_ulong mechanism, sg_ulong key, sg_ulong hash, sg_ulong mgf,
		  sg_byte *iv, sg_ulong ivn, sg_byte *aad, sg_ulong aadn, sg_byte *in, sg_ulong inn, sg_byte *out, sg_ulong *outn);
