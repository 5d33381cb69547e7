#!/bin/sh
# Run the plugin's tests in the QGIS of a newer Debian. Usage: newer_qgis.sh FOLDER PYTHON [PYTEST ARGUMENT...]
#   FOLDER  where that Debian is made at first use, with debootstrap: 3 GB and some minutes. It must not be in the checkout.
#   PYTHON  the engine's interpreter. What it is made of must be outside /usr, where the other Debian has its own.
# Needs root, debootstrap and the right to mount.
set -eu

SUITE=${SUITE:-trixie}
MIRROR=${MIRROR:-http://deb.debian.org/debian}
root=$1 python=$2
certificates=/etc/ssl/certs/ca-certificates.crt  # those of this machine: its network may have some of its own
shift 2
checkout=$(cd "$(dirname "$0")/.." && pwd)
base=$("$python" -c 'import sys; print(sys.base_prefix)')
environment=$("$python" -c 'import sys; print(sys.prefix)')
case $base in /usr | /usr/local)
    echo "The engine's interpreter $python is the system's, which there is none of in $SUITE; name one from elsewhere." >&2
    exit 1 ;;
esac

if [ ! -e "$root/.ready" ]; then
    debootstrap --variant=minbase "$SUITE" "$root" "$MIRROR"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    DEBIAN_FRONTEND=noninteractive chroot "$root" sh -eu -c '
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends qgis python3-qgis qgis-providers python3-venv xvfb xauth
        python3 -m venv --system-site-packages --without-pip /opt/tests'
    # By the pip outside, which knows this network's proxy and certificates; all of these run in any Python 3.
    packages=$(echo "$root"/opt/tests/lib/python3.*/site-packages)
    "$python" -m pip install --quiet --target "$packages" 'pytest>=8,<10' 'pytest-qgis>=2,<6' 'uv>=0.5,<1'
    ln -s "${packages#"$root"}/bin/uv" "$root/opt/tests/bin/uv"
    mkdir -p "$root/etc/ssl/certs"
    cp "$certificates" "$root$certificates"
    touch "$root/.ready"
fi

mounted=""
leave() {
    for place in $mounted; do umount "$root$place"; done
}
trap leave EXIT
# A place below another one would be mounted over; all of them are unmounted, the last one first.
for place in /proc /dev "$base" "$environment" "$checkout" "$(dirname "$checkout")/shared"; do
    [ -e "$place" ] || continue
    mkdir -p "$root$place"
    mount --bind "$place" "$root$place"
    mounted="$place $mounted"
done
chroot "$root" env -i PATH=/usr/bin:/bin HOME=/root LC_ALL=C.UTF-8 QT_QPA_PLATFORM=offscreen \
    SSL_CERT_FILE=$certificates PIP_CERT=$certificates MASKDINO_PYTHON="$python" sh -c 'cd "$0" && exec /opt/tests/bin/python -m pytest --confcutdir=tests/qgis_maskdino "$@"' \
    "$checkout" "${@:-tests/qgis_maskdino}"
