/*
 * control.h
 *		What the server's control files say of an extension.
 */
#ifndef AZPG_CONTROL_H
#define AZPG_CONTROL_H

typedef struct ExtensionControl
{
	const char *default_version;
	const char *schema;			/* the one its author has fixed, or NULL */
} ExtensionControl;

/*
 * Looks an extension up, in this version or, for NULL, its default one.  NULL if the
 * server does not have the extension; of a version it does not have, no schema is known.
 */
extern const ExtensionControl *find_control(const char *extension, const char *version);

#endif							/* AZPG_CONTROL_H */
