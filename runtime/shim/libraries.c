/*
 * libraries.c
 *		Keeps the server from loading libraries that do not lie in its own folder.
 *
 * PostgreSQL leaves it to superusers to name a library by any path, with one exception: the
 * output plug-in of a replication slot, by SQL and by the replication protocol, which Azure's
 * server admin may use.  To load a library is to run its code as the server's own user.  No
 * hook sees all those ways, but all of them end in one call of dlopen() by the server's
 * program.  So the place where that program keeps the function's address is given ours:
 * unlike LD_PRELOAD, it needs nothing of the environment, through which pg_ctl and a shell
 * would have to pass it on, and which children would inherit.  Libraries that load others
 * themselves, as OpenSSL does, call theirs as before.
 *
 * Superusers are refused, too: what they load, others can have made them load.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "miscadmin.h"

#include "azpg_server.h"

#if defined(__x86_64__)
#define IS_ADDRESS(type) ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT || (type) == R_X86_64_64)
#elif defined(__aarch64__)
#define IS_ADDRESS(type) ((type) == R_AARCH64_JUMP_SLOT || (type) == R_AARCH64_GLOB_DAT || (type) == R_AARCH64_ABS64)
#else
#error "azpg runs on x86-64 and aarch64"
#endif

/* What the dynamic section of the program says, as the loader left it in memory. */
typedef struct Program
{
	ElfW(Addr)	base;
	ElfW(Addr)	read_only;		/* which the loader made so after it had filled it in */
	size_t		read_only_size;
	const ElfW(Sym) *symbols;
	const char *names;
	const ElfW(Rela) *tables[2];
	size_t		sizes[2];		/* in entries */
} Program;

static char *own_folder = NULL;

/*
 * The path to load, with the folder as it really is: what is looked at here is what is loaded.
 * Reporting from here costs the few bytes that the caller has set aside for the library.
 */
static const char *
checked(const char *path)
{
	static char found[PATH_MAX];
	char		folder[PATH_MAX];
	char		real[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t		own = strlen(own_folder);

	/* Without a slash the loader would search its own folders; a "$" it would replace. */
	if (slash == NULL || slash == path || slash - path >= (ptrdiff_t) sizeof(folder) || strchr(slash, '$'))
		return NULL;
	memcpy(folder, path, slash - path);
	folder[slash - path] = '\0';
	if (realpath(folder, real) == NULL)
		return NULL;
	if (strncmp(real, own_folder, own) != 0 || (real[own] != '\0' && real[own] != '/'))
		return NULL;
	if (snprintf(found, sizeof(found), "%s%s", real, slash) >= (int) sizeof(found))
		return NULL;
	return found;
}

static void *
load(const char *path, int flags)
{
	const char *own;

	if (path == NULL)
		return dlopen(path, flags);
	own = checked(path);
	if (own == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("could not load library \"%s\": it is not one of this server's own", path),
				 errhint("Only libraries that were installed with the server can be loaded.")));
	return dlopen(own, flags);
}

/* glibc has added the base to the addresses in there; other loaders have not. */
static const void *
address(const Program *program, ElfW(Addr) value)
{
	return (const void *) (value < program->base ? value + program->base : value);
}

static void
read_dynamic(Program *program, const ElfW(Dyn) *entry)
{
	for (; entry->d_tag != DT_NULL; entry++)
	{
		switch (entry->d_tag)
		{
			case DT_SYMTAB:
				program->symbols = address(program, entry->d_un.d_ptr);
				break;
			case DT_STRTAB:
				program->names = address(program, entry->d_un.d_ptr);
				break;
			case DT_JMPREL:
				program->tables[0] = address(program, entry->d_un.d_ptr);
				break;
			case DT_PLTRELSZ:
				program->sizes[0] = entry->d_un.d_val / sizeof(ElfW(Rela));
				break;
			case DT_RELA:
				program->tables[1] = address(program, entry->d_un.d_ptr);
				break;
			case DT_RELASZ:
				program->sizes[1] = entry->d_un.d_val / sizeof(ElfW(Rela));
				break;
		}
	}
}

/* Called for each object in memory, the program first, which is the only one that counts. */
static int
read_program(struct dl_phdr_info *info, size_t size, void *data)
{
	Program    *program = data;
	const ElfW(Dyn) *dynamic = NULL;

	program->base = info->dlpi_addr;
	for (int i = 0; i < info->dlpi_phnum; i++)
	{
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];

		if (header->p_type == PT_DYNAMIC)
			dynamic = (const ElfW(Dyn) *) (info->dlpi_addr + header->p_vaddr);
		else if (header->p_type == PT_GNU_RELRO)
		{
			program->read_only = info->dlpi_addr + header->p_vaddr;
			program->read_only_size = header->p_memsz;
		}
	}
	if (dynamic)
		read_dynamic(program, dynamic);
	return 1;
}

static bool
replace(const Program *program, void **place)
{
	uintptr_t	page_size = (uintptr_t) sysconf(_SC_PAGESIZE);
	uintptr_t	at = (uintptr_t) place;
	void	   *page = (void *) (at & ~(page_size - 1));
	bool		read_only = at >= program->read_only && at < program->read_only + program->read_only_size;

	if (read_only && mprotect(page, page_size, PROT_READ | PROT_WRITE) != 0)
		return false;
	*place = (void *) load;
	return !read_only || mprotect(page, page_size, PROT_READ) == 0;
}

void
libraries_init(void)
{
	Program		program = {0};
	int			replaced = 0;

	own_folder = realpath(pkglib_path, NULL);
	dl_iterate_phdr(read_program, &program);
	if (own_folder && program.symbols && program.names)
	{
		for (int i = 0; i < 2; i++)
		{
			for (size_t j = 0; program.tables[i] && j < program.sizes[i]; j++)
			{
				const ElfW(Rela) *entry = &program.tables[i][j];
				const ElfW(Sym) *symbol = &program.symbols[ELF64_R_SYM(entry->r_info)];

				if (IS_ADDRESS(ELF64_R_TYPE(entry->r_info)) &&
					strcmp(program.names + symbol->st_name, "dlopen") == 0)
				{
					if (!replace(&program, (void **) (program.base + entry->r_offset)))
						ereport(FATAL,
								(errmsg("could not guard the loading of libraries: %m")));
					replaced++;
				}
			}
		}
	}
	if (replaced == 0)
		ereport(FATAL,
				(errmsg("could not guard the loading of libraries: this server's program does not call dlopen"),
				 errhint("Use a PostgreSQL that is linked dynamically.")));
}
