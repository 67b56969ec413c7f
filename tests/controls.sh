#!/usr/bin/env bash
# Positive controls: is each test worth something? Builds qbak once with the feature `controls`, in which mechanisms can be left
# out by name, and runs for each line of tests/controls.txt the test that must notice: once as it is, and once broken. A test
# that passes either way protects nothing, and fails this. First the tests that only such a build has.
#
#     tests/controls.sh               all of it
#     tests/controls.sh no-fsync …    only these controls
set -uo pipefail
cd "$(dirname "$0")/.."

# A folder of its own: what can be broken must never lie where somebody looks for a qbak to use.
export CARGO_TARGET_DIR="$PWD/target/controls" CARGO_TERM_COLOR=never
unset QBAK_CONTROL QBAK_KILL QBAK_STOP QBAK_SPOIL QBAK_POINTS
# A broken mechanism may well be one that keeps something from running for ever.
most=${QBAK_CONTROLS_TIMEOUT:-120}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

mapfile -t lines < <(grep -vE '^(#|[[:space:]]*$)' tests/controls.txt)
if [ $# -gt 0 ]; then
    wanted=" $* "
    mapfile -t lines < <(for l in "${lines[@]}"; do read -r c _ <<<"$l"; [[ $wanted == *" $c "* ]] && echo "$l"; done)
    [ ${#lines[@]} -gt 0 ] || { echo "no line of tests/controls.txt is about $*"; exit 1; }
fi

declare -A program
targets=(--bin qbak)
own=(failpoints sleepers)
[ $# = 0 ] || own=()
for b in $({ printf '%s\n' "${own[@]}"; for l in "${lines[@]}"; do read -r _ _ b _ <<<"$l"; echo "$b"; done; } | sort -u); do
    if [ "$b" = lib ]; then targets+=(--lib); else targets+=(--test "$b"); fi
done
# Where each test's program lies is said by the build itself.
cargo test --locked --features controls --no-run "${targets[@]}" 2>&1 | tee "$logs/build"
[ "${PIPESTATUS[0]}" = 0 ] || { echo "the build with controls failed"; exit 1; }
while read -r source path; do
    case $source in
        src/lib.rs) program[lib]=$path ;;
        tests/*) b=${source#tests/}; b=${b%.rs}; program[${b%/main}]=$path ;;
    esac
done < <(sed -nE 's/^ *Executable (unittests )?([^ ]+) \((.*)\)$/\2 \3/p' "$logs/build")

# run NAME PROGRAM TEST: exit code of the one test; "none" if there is no such test.
run() {
    local code
    timeout "$most" "${program[$2]}" --exact "$3" >"$logs/$1" 2>&1
    code=$?
    if [ $code = 0 ] && ! grep -q '^test result: ok. 1 passed' "$logs/$1"; then echo none; else echo $code; fi
}

bad=0
if [ $# = 0 ]; then
    for b in "${own[@]}"; do
        echo "== tests/$b.rs"
        "${program[$b]}" || { echo "tests/$b.rs FAILED"; bad=1; }
    done
fi

declare -A healthy
table=""
for line in "${lines[@]}"; do
    read -r control promise b t <<<"$line"
    if [ -z "${healthy[$b/$t]:-}" ]; then
        healthy[$b/$t]=$(run healthy "$b" "$t")
        [ "${healthy[$b/$t]}" = 0 ] || tail -n 40 "$logs/healthy"
    fi
    broken=$(QBAK_CONTROL=$control run broken "$b" "$t")
    case ${healthy[$b/$t]} in
        0) well=passes ;;
        none) well="no such test" ;;
        *) well=FAILS ;;
    esac
    case $broken in
        0) ill=passes; verdict="NOT CAUGHT" ;;
        none) ill="-"; verdict="NOT CAUGHT" ;;
        124) ill="runs for ever"; verdict=caught ;;
        *) ill=fails; verdict=caught ;;
    esac
    # A test that was skipped has shown nothing.
    if grep -q '^skipped: ' "$logs/broken"; then ill=skipped; verdict="NOT CAUGHT"; fi
    [ "$well" = passes ] && [ "$verdict" = caught ] || { bad=1; tail -n 5 "$logs/broken"; }
    row=$(printf '%-18s %-8s %-60s %-13s %-14s %s' "$control" "$promise" "$b $t" "$well" "$ill" "$verdict")
    echo "$row"
    table+="$row"$'\n'
done
printf '\n%-18s %-8s %-60s %-13s %-14s %s\n%s' control promise test healthy broken "" "$table"
if [ $bad = 0 ]; then echo "== every control was caught"; else echo "== NOT every control was caught"; fi
exit $bad
