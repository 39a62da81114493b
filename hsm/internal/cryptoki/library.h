// The part of PKCS#11 v2.40 (pkcs11t.h, pkcs11f.h) that this package calls, with one C function for
// each call from Go. Attribute templates cross the border as three flat arrays, because Go must not
// pass memory that contains Go pointers.
#include <stdlib.h>

typedef unsigned long sg_ulong;
typedef unsigned char sg_byte;

typedef struct { sg_byte major, minor; } sg_version;

// sg_token is CK_TOKEN_INFO.
typedef struct {
	sg_byte label[32], manufacturer[32], model[16], serial[16];
	sg_ulong flags, max_sessions, sessions, max_rw_sessions, rw_sessions, max_pin, min_pin;
	sg_ulong total_public, free_public, total_private, free_private;
	sg_version hardware, firmware;
	sg_byte utc[16];
} sg_token;

typedef struct sg_list sg_list;

char *sg_load(const char *path, sg_list **list);
sg_ulong sg_initialize(sg_list *l);
sg_ulong sg_finalize(sg_list *l);
sg_ulong sg_slots(sg_list *l, sg_ulong *ids, sg_ulong *n);
sg_ulong sg_token_info(sg_list *l, sg_ulong slot, sg_token *info);
sg_ulong sg_mechanism_flags(sg_list *l, sg_ulong slot, sg_ulong mechanism, sg_ulong *flags);
sg_ulong sg_init_token(sg_list *l, sg_ulong slot, sg_byte *pin, sg_ulong n, sg_byte *label);
sg_ulong sg_init_pin(sg_list *l, sg_ulong session, sg_byte *pin, sg_ulong n);
sg_ulong sg_open(sg_list *l, sg_ulong slot, sg_ulong flags, sg_ulong *session);
sg_ulong sg_close(sg_list *l, sg_ulong session);
sg_ulong sg_login(sg_list *l, sg_ulong session, sg_ulong user, sg_byte *pin, sg_ulong n);
sg_ulong sg_logout(sg_list *l, sg_ulong session);

// sg_find runs one whole search: it writes at most *n handles and sets *n to their number.
sg_ulong sg_find(sg_list *l, sg_ulong session, sg_ulong *types, sg_ulong *lengths, sg_byte *values, sg_ulong count,
		 sg_ulong *handles, sg_ulong *n);

// sg_attribute reads one attribute into out, which holds *n bytes. If that is too small, it returns
// CKR_BUFFER_TOO_SMALL and sets *n to the length.
sg_ulong sg_attribute(sg_list *l, sg_ulong session, sg_ulong object, sg_ulong type, sg_byte *out, sg_ulong *n);

sg_ulong sg_set_attributes(sg_list *l, sg_ulong session, sg_ulong object, sg_ulong *types, sg_ulong *lengths,
			   sg_byte *values, sg_ulong count);
sg_ulong sg_create(sg_list *l, sg_ulong session, sg_ulong *types, sg_ulong *lengths, sg_byte *values, sg_ulong count,
		   sg_ulong *object);
sg_ulong sg_destroy(sg_list *l, sg_ulong session, sg_ulong object);
sg_ulong sg_generate_key(sg_list *l, sg_ulong session, sg_ulong mechanism, sg_ulong *types, sg_ulong *lengths,
			 sg_byte *values, sg_ulong count, sg_ulong *key);

// sg_generate_pair takes one array for both templates: the first count_public attributes belong to
// the public key.
sg_ulong sg_generate_pair(sg_list *l, sg_ulong session, sg_ulong mechanism, sg_ulong *types, sg_ulong *lengths,
			  sg_byte *values, sg_ulong count_public, sg_ulong count, sg_ulong *private_key);

// sg_crypt runs one whole operation: 1 encrypt, 2 decrypt, 3 sign. The caller sizes the output,
// because a library's answer to the length query is not always right (NSS omits the GCM tag).
sg_ulong sg_crypt(sg_list *l, sg_ulong session, sg_ulong operation, sg_ulong mechanism, sg_ulong key, sg_ulong hash,
		  sg_ulong mgf, sg_ulong salt, sg_byte *iv, sg_ulong ivn, sg_byte *aad, sg_ulong aadn, sg_byte *in,
		  sg_ulong inn, sg_byte *out, sg_ulong *outn);
