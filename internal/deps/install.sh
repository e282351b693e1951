#!/bin/sh
# Installs the Debian packages named as arguments, only those that are missing,
# and starts none of their services. Where it cannot (no root, no apt, no network)
# it says what is missing and ends well: tests that need it are then skipped, each
# naming what it misses, or fail where the environment variable CI is set.
set -eu

missing=
for package in "$@"; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing="$missing $package"
done
missing=${missing# }
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "deps: these are Debian's names of what tests need; install what is missing: $missing" >&2
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "deps: not root; some tests need: apt-get install --no-install-recommends $missing" >&2
	exit 0
fi

# invoke-rc.d and deb-systemd-invoke ask this file whether a service may start;
# 101 is no (Debian policy for packages' maintainer scripts). Whatever stood
# there is put back, however this script ends.
policy=/usr/sbin/policy-rc.d
saved=
restore() {
	rm -f "$policy"
	[ -z "$saved" ] || mv "$saved" "$policy"
}
trap restore EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -e "$policy" ] || [ -L "$policy" ]; then
	mv "$policy" "$policy.before-weft"
	saved=$policy.before-weft
fi
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

echo "deps: installing $missing (services are not started)"
export DEBIAN_FRONTEND=noninteractive
install() {
	# shellcheck disable=SC2086 # one word per package
	apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@" $missing </dev/null
}
# A fresh machine has no package lists, an old one has lists of what is gone.
install --simulate >/dev/null 2>&1 || apt-get update -qq </dev/null || true
if ! install && ! { apt-get update -qq </dev/null && install; }; then
	echo "deps: apt-get could not install: $missing; tests that need it cannot run" >&2
fi
