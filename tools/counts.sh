# Sourced: counts of tests that one script leaves for another, in build/test/<name>.counts.
# A file holds one line: passed failed skipped. No file, or a torn one, is one failure: the
# runner died before it could say.

write_counts() {
  mkdir -p build/test
  printf '%s %s %s\n' "$2" "$3" "$4" >"build/test/$1.counts"
}

read_counts() { read_counts_file "build/test/$1.counts"; }

read_counts_file() {
  counts_passed=0 counts_failed=1 counts_skipped=0
  local line
  line=$(cat "$1" 2>/dev/null) || return 0
  if [[ $line =~ ^([0-9]+)\ ([0-9]+)\ ([0-9]+)$ ]]; then
    counts_passed=${BASH_REMATCH[1]} counts_failed=${BASH_REMATCH[2]} counts_skipped=${BASH_REMATCH[3]}
  fi
}

# Seconds since an $EPOCHREALTIME, with one decimal.
seconds_since() {
  local tenths=$(((${EPOCHREALTIME/./} - ${1/./}) / 100000))
  printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}
