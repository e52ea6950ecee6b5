#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The tests of the report open it in Chromium; this installs it where it is missing.
set -eu
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "The tests of the report need Chromium: install it (Debian: sudo apt-get install chromium)." >&2
  exit 1
fi
echo "installing Chromium (once) …"
apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
