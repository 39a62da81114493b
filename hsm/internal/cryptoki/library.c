//go:build cgo && !windows

#include "library.h"
#include <dlfcn.h>
#include <string.h>

enum { RV_OK = 0, RV_HOST_MEMORY = 0x2, RV_NOT_SUPPORTED = 0x54, RV_TOO_SMALL = 0x150 };
enum { M_OAEP = 0x9, M_PSS = 0xd, M_CBC = 0x1082, M_CBC_PAD = 0x1085, M_GCM = 0x1087 };
enum { OS_LOCKING_OK = 2, DATA_SPECIFIED = 1, GCM_TAG_BITS = 128 };

typedef sg_ulong ul;
typedef sg_byte by;

typedef struct { ul type; void *value; ul n; } attribute;
typedef struct { ul type; void *param; ul n; } mechanism;
typedef struct { void *create, *destroy, *lock, *unlock; ul flags; void *reserved; } init_args;
typedef struct { ul min_size, max_size, flags; } mechanism_info;
typedef struct { by *iv; ul ivn, ivbits; by *aad; ul aadn, tagbits; } gcm;
typedef struct { ul hash, mgf, source; void *data; ul n; } oaep;
typedef struct { ul hash, mgf, salt; } pss;

typedef ul (*init_fn)(ul, mechanism *, ul);
typedef ul (*work_fn)(ul, by *, ul, by *, ul *);

// sg_list is CK_FUNCTION_LIST in the standard's order. A function that this package does not call
// is a plain pointer.
struct sg_list {
	sg_version version;
	ul (*initialize)(init_args *);
	ul (*finalize)(void *);
	void *get_info, *get_function_list;
	ul (*get_slot_list)(by, ul *, ul *);
	void *get_slot_info;
	ul (*get_token_info)(ul, sg_token *);
	void *get_mechanism_list;
	ul (*get_mechanism_info)(ul, ul, mechanism_info *);
	ul (*init_token)(ul, by *, ul, by *);
	ul (*init_pin)(ul, by *, ul);
	void *set_pin;
	ul (*open_session)(ul, ul, void *, void *, ul *);
	ul (*close_session)(ul);
	void *close_all_sessions, *get_session_info, *get_operation_state, *set_operation_state;
	ul (*login)(ul, ul, by *, ul);
	ul (*logout)(ul);
	ul (*create_object)(ul, attribute *, ul, ul *);
	void *copy_object;
	ul (*destroy_object)(ul, ul);
	void *get_object_size;
	ul (*get_attribute_value)(ul, ul, attribute *, ul);
	ul (*set_attribute_value)(ul, ul, attribute *, ul);
	ul (*find_objects_init)(ul, attribute *, ul);
	ul (*find_objects)(ul, ul *, ul, ul *);
	ul (*find_objects_final)(ul);
	init_fn encrypt_init;
	work_fn encrypt;
	void *encrypt_update, *encrypt_final;
	init_fn decrypt_init;
	work_fn decrypt;
	void *decrypt_update, *decrypt_final, *digest_init, *digest, *digest_update, *digest_key, *digest_final;
	init_fn sign_init;
	work_fn sign;
	void *sign_update, *sign_final, *sign_recover_init, *sign_recover, *verify_init, *verify, *verify_update;
	void *verify_final, *verify_recover_init, *verify_recover, *digest_encrypt_update, *decrypt_digest_update;
	void *sign_encrypt_update, *decrypt_verify_update;
	ul (*generate_key)(ul, mechanism *, attribute *, ul, ul *);
	ul (*generate_key_pair)(ul, mechanism *, attribute *, ul, attribute *, ul, ul *, ul *);
	void *wrap_key, *unwrap_key, *derive_key, *seed_random, *generate_random, *get_function_status;
	void *cancel_function, *wait_for_slot_event;
};

// A library may leave a function out of its list.
#define NEED(f) do { if ((f) == NULL) return RV_NOT_SUPPORTED; } while (0)

// sg_load returns NULL if the file is a PKCS#11 library, else a text that the caller frees. The
// library stays loaded until the process ends: several crash when they are unloaded. The function
// list is read once, because p11-kit's client answers each C_GetFunctionList with a new instance.
char *sg_load(const char *path, sg_list **list)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		const char *why = dlerror();
		return strdup(why != NULL ? why : "the loader gives no reason");
	}
	ul (*get)(sg_list **) = (ul (*)(sg_list **))dlsym(handle, "C_GetFunctionList");
	if (get == NULL) {
		dlclose(handle);
		return strdup("the file is a library without C_GetFunctionList");
	}
	*list = NULL;
	if (get(list) != RV_OK || *list == NULL) {
		return strdup("C_GetFunctionList fails");
	}
	return NULL;
}

sg_ulong sg_initialize(sg_list *l)
{
	init_args args = { .flags = OS_LOCKING_OK };
	NEED(l->initialize);
	return l->initialize(&args);
}

sg_ulong sg_finalize(sg_list *l)
{
	NEED(l->finalize);
	return l->finalize(NULL);
}

sg_ulong sg_slots(sg_list *l, sg_ulong *ids, sg_ulong *n)
{
	NEED(l->get_slot_list);
	return l->get_slot_list(1, ids, n);
}

sg_ulong sg_token_info(sg_list *l, sg_ulong slot, sg_token *info)
{
	NEED(l->get_token_info);
	return l->get_token_info(slot, info);
}

sg_ulong sg_mechanism_flags(sg_list *l, sg_ulong slot, sg_ulong mechanism, sg_ulong *flags)
{
	mechanism_info info = { 0 };
	NEED(l->get_mechanism_info);
	ul rv = l->get_mechanism_info(slot, mechanism, &info);
	*flags = info.flags;
	return rv;
}

sg_ulong sg_init_token(sg_list *l, sg_ulong slot, sg_byte *pin, sg_ulong n, sg_byte *label)
{
	NEED(l->init_token);
	return l->init_token(slot, pin, n, label);
}

sg_ulong sg_init_pin(sg_list *l, sg_ulong session, sg_byte *pin, sg_ulong n)
{
	NEED(l->init_pin);
	return l->init_pin(session, pin, n);
}

sg_ulong sg_open(sg_list *l, sg_ulong slot, sg_ulong flags, sg_ulong *session)
{
	NEED(l->open_session);
	return l->open_session(slot, flags, NULL, NULL, session);
}

sg_ulong sg_close(sg_list *l, sg_ulong session)
{
	NEED(l->close_session);
	return l->close_session(session);
}

sg_ulong sg_login(sg_list *l, sg_ulong session, sg_ulong user, sg_byte *pin, sg_ulong n)
{
	NEED(l->login);
	return l->login(session, user, pin, n);
}

sg_ulong sg_logout(sg_list *l, sg_ulong session)
{
	NEED(l->logout);
	return l->logout(session);
}

// template builds the attributes that point into values; the caller frees them.
static attribute *template(sg_ulong *types, sg_ulong *lengths, sg_byte *values, sg_ulong count)
{
	attribute *list = calloc(count + 1, sizeof *list);
	if (list == NULL) {
		return NULL;
	}
	for (ul i = 0; i < count; i++) {
		list[i] = (attribute){ types[i], lengths[i] != 0 ? values : NULL, lengths[i] };
		values += lengths[i];
	}
	return list;
}

sg_ulong sg_find(sg_list *l, sg_ulong session, sg_ulong *types, sg_ulong *lengths, sg_byte *values, sg_ulong count,
		 sg_ulong *handles, sg_ulong *n)
{
	ul limit = *n, got = 0;
	*n = 0;
	NEED(l->find_objects_init);
	NEED(l->find_objects);
	NEED(l->find_objects_final);
	attribute *list = template(types, lengths, values, count);
	if (list == NULL) {
		return RV_HOST_MEMORY;
	}
	ul rv = l->find_objects_init(session, list, count);
	free(list);
	if (rv != RV_OK) {
		return rv;
	}
	do {
		got = 0;
		rv = l->find_objects(session, handles + *n, limit - *n, &got);
		if (got > limit - *n) {
			got = 0; // a library that claims more than it was asked for
		}
		*n += rv == RV_OK ? got : 0;
	} while (rv == RV_OK && got != 0 && *n < limit);
	ul end = l->find_objects_final(session);
	return rv != RV_OK ? rv : end;
}

sg_ulong sg_attribute(sg_list *l, sg_ulong session, sg_ulong object, sg_ulong type, sg_byte *out, sg_ulong *n)
{
	attribute a = { type, NULL, 0 };
	NEED(l->get_attribute_value);
	ul rv = l->get_attribute_value(session, object, &a, 1);
	if (rv != RV_OK) {
		return rv;
	}
	if (a.n > *n) {
		*n = a.n;
		return RV_TOO_SMALL;
	}
	if (a.n != 0) {
		a.value = out;
		rv = l->get_attribute_value(session, object, &a, 1);
	}
	if (rv == RV_OK) {
		*n = a.n;
	}
	return rv;
}

sg_ulong sg_set_attributes(sg_list *l, sg_ulong session, sg_ulong object, sg_ulong *types, sg_ulong *lengths,
			   sg_byte *values, sg_ulong count)
{
	NEED(l->set_attribute_value);
	attribute *list = template(types, lengths, values, count);
	ul rv = list == NULL ? RV_HOST_MEMORY : l->set_attribute_value(session, object, list, count);
	free(list);
	return rv;
}

sg_ulong sg_create(sg_list *l, sg_ulong session, sg_ulong *types, sg_ulong *lengths, sg_byte *values, sg_ulong count,
		   sg_ulong *object)
{
	NEED(l->create_object);
	attribute *list = template(types, lengths, values, count);
	ul rv = list == NULL ? RV_HOST_MEMORY : l->create_object(session, list, count, object);
	free(list);
	return rv;
}

sg_ulong sg_destroy(sg_list *l, sg_ulong session, sg_ulong object)
{
	NEED(l->destroy_object);
	return l->destroy_object(session, object);
}

sg_ulong sg_generate_key(sg_list *l, sg_ulong session, sg_ulong type, sg_ulong *types, sg_ulong *lengths,
			 sg_byte *values, sg_ulong count, sg_ulong *key)
{
	mechanism m = { type, NULL, 0 };
	NEED(l->generate_key);
	attribute *list = template(types, lengths, values, count);
	ul rv = list == NULL ? RV_HOST_MEMORY : l->generate_key(session, &m, list, count, key);
	free(list);
	return rv;
}

sg_ulong sg_generate_pair(sg_list *l, sg_ulong session, sg_ulong type, sg_ulong *types, sg_ulong *lengths,
			  sg_byte *values, sg_ulong count_public, sg_ulong count, sg_ulong *private_key)
{
	mechanism m = { type, NULL, 0 };
	ul public_key = 0;
	NEED(l->generate_key_pair);
	attribute *list = template(types, lengths, values, count);
	ul rv = list == NULL ? RV_HOST_MEMORY
			     : l->generate_key_pair(session, &m, list, count_public, list + count_public,
						    count - count_public, &public_key, private_key);
	free(list);
	return rv;
}

sg_ulong sg_crypt(sg_list *l, sg_ulong session, sg_ulong operation, sg_ulong type, sg_ulong key, sg_ulong hash,
		  sg_ulong mgf, sg_ulong salt, sg_byte *iv, sg_ulong ivn, sg_byte *aad, sg_ulong aadn, sg_byte *in,
		  sg_ulong inn, sg_byte *out, sg_ulong *outn)
{
	init_fn inits[] = { NULL, l->encrypt_init, l->decrypt_init, l->sign_init };
	work_fn works[] = { NULL, l->encrypt, l->decrypt, l->sign };
	mechanism m = { type, NULL, 0 };
	gcm g = { iv, ivn, ivn * 8, aadn != 0 ? aad : NULL, aadn, GCM_TAG_BITS };
	oaep o = { hash, mgf, DATA_SPECIFIED, NULL, 0 };
	pss p = { hash, mgf, salt };

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
	case M_PSS:
		m.param = &p, m.n = sizeof p;
		break;
	}
	NEED(inits[operation]);
	NEED(works[operation]);
	ul rv = inits[operation](session, &m, key);
	if (rv != RV_OK) {
		return rv;
	}
	return works[operation](session, in, inn, out, outn);
}
