#!/bin/sh
# Builds clean.wasm from clean.c; needs clang and lld (Debian: apt-get install clang lld).
# With the ziglang package instead: CC="python-zig cc" TARGET=wasm32-freestanding sh build.sh
set -eu
cd "$(dirname "$0")"
# --stack-first: a stack that overflows traps, instead of running into the statics.
${CC:-clang} --target="${TARGET:-wasm32}" -std=c11 -Wall -Wextra -Wno-int-to-pointer-cast -nostdlib -ffreestanding -O3 \
    -fno-builtin -msimd128 -mbulk-memory -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=65536 -o clean.wasm clean.c
