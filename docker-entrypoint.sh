#!/bin/sh
# Help and the version need no folder; everything else works on files of the host.
case "${1:---help}" in
  -h | --help | --version) ;;
  *)
    if ! grep -q ' /data ' /proc/self/mounts; then
      echo "error: no folder is mounted at /data; add -v \"\$PWD\":/data to docker run" >&2
      exit 2
    fi
    ;;
esac
exec simcvd "$@"
