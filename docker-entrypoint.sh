#!/bin/sh
# Help and the version need no folder; everything else works on files of the host.
needed=$#
for word in "$@"; do
  case $word in -h | --help | --version) needed=0 ;; esac
done
if [ "$needed" -gt 0 ] && ! grep -q ' /data ' /proc/self/mounts; then
  echo "error: no folder is mounted at /data; add -v \"\$PWD\":/data to docker run" >&2
  exit 2
fi
exec simcvd "$@"
