#!/usr/bin/env bash
# Everything that a GPU has to show, in one run of about four minutes:  bench/cuda/day.sh BUNDLE OUTPUT
# BUNDLE is a folder made by bench.cuda.bundle. torch compiles its models side by side meanwhile, and is timed after them, in turns.
set -uo pipefail
bundle=$1 out=$2 check="python3 -m bench.cuda.check" start=$SECONDS gate=$(mktemp -d)
mkdir -p "$out"
PYTHONPATH=$(cd "$(dirname "$0")/../.." && pwd)${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
$check --help >/dev/null || exit 2  # a package is missing: say so before the GPU waits for nothing
peers=()
for peer in "deit_small 1 eager fp16" "deit_small 32 eager fp16" "deit_tiny 1 eager fp16" "vit_base 1 eager fp16" \
            "vit_base 32 eager fp16" "deit_small 8 eager fp16" "deit_tiny 32 eager fp16" "deit_small 32 int8"; do
    read -r model batch kinds <<<"$peer"
    # shellcheck disable=SC2086
    TORCHINDUCTOR_COMPILE_THREADS=3 $check peers --gate "$gate" --models "$model" --batches "$batch" --kinds $kinds \
        >"$out/peer_${peer// /_}.log" 2>&1 &
    peers+=($!)
done
timeout 100 $check exact --bundle "$bundle" >"$out/exact.log" 2>&1
grep compared "$out/exact.log"
alive() { for p in "${peers[@]}"; do kill -0 "$p" 2>/dev/null && echo "$p"; done; }
ready() { find "$gate" -name 'ready-*' | wc -l; }
while [ "$(ready)" -lt "$(alive | wc -l)" ] && [ $((SECONDS - start)) -lt 150 ]; do sleep 1; done
for p in $(alive); do [ -e "$gate/ready-$p" ] || kill -9 "$p"; done
timeout 40 $check ours --bundle "$bundle" >"$out/ours1.log" 2>&1
touch "$gate/go"
for _ in $(seq 40); do [ -n "$(alive)" ] || break; sleep 1; done
for p in $(alive); do kill -9 "$p"; done
timeout 40 $check ours --bundle "$bundle" >"$out/ours2.log" 2>&1
grep -h '^what' "$out"/ours?.log "$out"/peer_*.log
timeout 30 $check profile --bundle "$bundle" >"$out/profile.log" 2>&1
timeout 60 $check candidates --bundle "$bundle" >"$out/candidates.log" 2>&1
echo "$(grep -c '^{"what' "$out/candidates.log") candidates timed after $((SECONDS - start)) s"
