#!/bin/bash
# base.sh PYTHON > base.tar
# A small root file system cut from this Debian's own packages, without a network: bash, grep, coreutils, the libraries that
# Python and TensorFlow link to, and PYTHON itself if it is the distribution's (another is to be mounted).
set -euo pipefail
python=$(realpath "$1")
packages="base-files libc6 libc-bin libgcc-s1 libstdc++6 dash bash coreutils grep sed"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
modules=$("$python" -c 'import sysconfig; print(sysconfig.get_path("platstdlib"))')/lib-dynload
if [[ $python == /usr/bin/* ]]; then
  packages+=" python$version-minimal libpython$version-minimal libpython$version-stdlib"
fi
for package in $packages; do
  dpkg-query -L "$package" > /dev/null || { echo "base.sh: the package $package is not installed" >&2; exit 1; }
done

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir "$root/tree"
cd "$root/tree"
chmod 755 .
mkdir -m 1777 tmp
mkdir etc proc sys dev
for link in bin sbin lib lib64; do ln -s "usr/$link" "$link"; done
printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n' > etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' > etc/group
printf 'hosts: files dns\n' > etc/nsswitch.conf

# Files of the packages, and the libraries that the programs link to, under their link names and their real ones.
# shellcheck disable=SC2086
dpkg-query -L $packages | grep -vE '^/usr/share/|/gconv/' > "$root/files"
mapfile -t programs < <(grep -E '^(/usr)?/bin/.' "$root/files"; find "$modules" -name '*.so' ! -name '_tkinter*'; echo "$python")
# ldd fails for scripts among them, and fills in what the others need.
{ ldd "${programs[@]}" 2> /dev/null || true; } | grep -oE '/[^ :]+\.so[^ :]*' | grep -vF "$modules" | sort -u |
  while read -r library; do printf '%s\n' "$library" "$(realpath "$library")"; done >> "$root/files"
echo /etc/ld.so.cache >> "$root/files"
sed -E 's#^/(bin|sbin|lib|lib64)/#/usr/\1/#' "$root/files" | grep -E '^/(usr|etc)/' | sort -u |
  while read -r file; do if [[ -e $file || -L $file ]]; then echo "${file#/}"; fi; done > "$root/list"
tar -C / --no-recursion -cf - -T "$root/list" | tar -xf -
tar --numeric-owner --owner=0 --group=0 -cf - .
