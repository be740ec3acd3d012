#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Pictures of every page and panel in three sizes, to look at: screenshots.sh BUILD_FOLDER OUT_FOLDER [RUN]
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
program=$(cd "$1" && pwd)/bin/screenshots
out=$2
run=${3:-}
stream=$here/tests/data/streams/demo_session.jsonl
export FLASHMORPH_RESOURCES="$here/resources"
"$program" "$out/1280x800" 1280x800 "$stream" $run
"$program" "$out/2560x1440" 2560x1440 "$stream" $run
QT_SCALE_FACTOR=2 "$program" "$out/2560x1600_at_200" 1280x800 "$stream" $run
echo "$(find "$out" -name '*.png' | wc -l) pictures in $out"
