#!/bin/sh
# Makes speech.wav, six phrases over background noise, and truth.json, where they truly are.
# Needs espeak-ng and sox. The same tools give the same file: nothing in it is drawn by chance.
set -eu
cd "$(dirname "$0")"

rate=22050
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# voice | pitch | words a minute | pause before it, in samples | text
cat > "$work/phrases" <<'EOF'
en-us|50|150|22050|A penstock carries water to the turbine
en-gb+f3|60|155|15435|The gate opens and the stream begins
en-us|35|140|33075|Nothing is lost on the way down
en-gb+m3|45|160|13230|Every drop that enters is counted twice
en-us+f2|65|150|39690|Close the gate and the water stands still
en-gb|40|145|19845|That is all there is to know
EOF
tail_pause=26460

# Each clip alone, its own silence trimmed from both ends; its length then says where the phrase begins and ends.
sound() { sox -D "$@"; }
position=0
count=0
: > "$work/list"
: > "$work/truth"
while IFS='|' read -r voice pitch speed pause text; do
    count=$((count + 1))
    clip="$work/$count.wav"
    espeak-ng -v "$voice" -p "$pitch" -s "$speed" -w "$work/raw.wav" "$text"
    sound "$work/raw.wav" -r $rate -c 1 -b 16 "$clip" gain -n -4 \
        silence 1 0.005 0.5% reverse silence 1 0.005 0.5% reverse
    sound -r $rate -c 1 -n -b 16 "$work/pause$count.wav" trim 0 "${pause}s"
    length=$(soxi -s "$clip")
    start=$((position + pause))
    position=$((start + length))
    printf '%s\n%s\n' "$work/pause$count.wav" "$clip" >> "$work/list"
    awk -v s=$start -v e=$position -v r=$rate -v t="$text" \
        'BEGIN { printf "  {\"start\": %.4f, \"end\": %.4f, \"text\": \"%s\"}\n", s / r, e / r, t }' >> "$work/truth"
done < "$work/phrases"
sound -r $rate -c 1 -n -b 16 "$work/tail.wav" trim 0 "${tail_pause}s"
echo "$work/tail.wav" >> "$work/list"

# Pink noise some 27 dB below the speech, over everything.
# shellcheck disable=SC2046  # our own names, without spaces
sound $(cat "$work/list") "$work/clean.wav"
total=$((position + tail_pause))
sound -R -r $rate -c 1 -n -b 16 "$work/noise.wav" synth "${total}s" pinknoise gain -n -38
sound -m -v 1 "$work/clean.wav" -v 1 "$work/noise.wav" -b 16 speech.wav

{ echo '['; sed '$!s/$/,/' "$work/truth"; echo ']'; } > truth.json
echo "speech.wav: $(soxi -D speech.wav) s, $count phrases"
