#!/bin/sh
# build.sh TREE VERSION MAINTAINER OUT: makes a Debian package of what `make install`
# put into TREE. A version that is none, as a commit's hash, becomes 0.0~git and it.
set -eu
tree=$1 maintainer=$3 out=$4
case $2 in
v[0-9]*.* | [0-9]*.*) version=${2#v} ;;
*) version=0.0~git$2 ;;
esac
version=$(printf %s "$version" | tr - +)
here=$(dirname "$0")
mkdir -p "$tree/DEBIAN"
size=$(du -sk --exclude=DEBIAN "$tree" | cut -f1)
sed -e "s|@VERSION@|$version|; s|@ARCH@|$(dpkg --print-architecture)|; s|@SIZE@|$size|" -e "s|@MAINTAINER@|$maintainer|" "$here/control" >"$tree/DEBIAN/control"
cp "$here/conffiles" "$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do
	install -m 755 "$here/$script" "$tree/DEBIAN/$script"
done
(cd "$tree" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
dpkg-deb --root-owner-group --build "$tree" "$out"
