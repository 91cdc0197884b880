#!/bin/sh
# Builds the C guests beside their sources; needs clang and lld (Debian: apt-get install clang lld).
set -eu
cd "$(dirname "$0")"
for guest in words deep; do
    ${CC:-clang} --target="${TARGET:-wasm32}" -std=c11 -Wall -Wextra -Wno-int-to-pointer-cast -nostdlib -ffreestanding -O2 \
        -fno-builtin -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=65536 -o "$guest.wasm" "$guest.c"
done
