# shellcheck shell=bash
# Shared pieces of the scripts in this folder; sourced, never run:
#
#     set -euo pipefail
#     . "$(dirname "${BASH_SOURCE[0]}")/common.sh"
#
# Sourcing moves to the project root, so every path below is relative to it, wherever the caller stands.
# Written for bash 3.2 and later: macOS still ships 3.2.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT" || exit 2

say() { printf '%s\n' "$*"; }

fail() {
    printf '%s\n' "$*" >&2
    exit 2
}


# ---- Python ----------------------------------------------------------------------------------------------------------

# ensure_venv FILE...: set PY to an interpreter that has the requirement files' packages.
#   MUNIT_PYTHON=python   use this interpreter as it is and install nothing (Docker, conda)
#   PYTHON=python3.12     make .venv with this interpreter instead of python3
# Reads the requirement files; writes .venv, and in it a note of what was installed: a second run installs nothing.
ensure_venv() {
    if [ -n "${MUNIT_PYTHON:-}" ]; then
        PY=$(command -v "$MUNIT_PYTHON") || fail "MUNIT_PYTHON: there is no interpreter '$MUNIT_PYTHON'"
        return
    fi

    PY=$ROOT/.venv/bin/python
    [ -x "$PY" ] || make_venv "${PYTHON:-python3}"

    # A file may include another (-r), so a change in any of them counts as a change in each.
    local file hash note=$ROOT/.venv/requirements.installed missing=()
    hash=$({ cat requirements.txt requirements/*.txt 2>/dev/null || true; } | "$PY" -c 'import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
    for file in "$@"; do
        [ -f "$file" ] || fail "there is no requirement file '$file'"
        grep -qsxF "$file $hash" "$note" || missing+=("$file")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0

    # Environments that another tool made (uv, or a run cut short) can lack pip.
    "$PY" -m pip --version >/dev/null 2>&1 || "$PY" -m ensurepip >/dev/null 2>&1 \
        || fail ".venv has no pip: delete .venv and run this again, or set MUNIT_PYTHON to another interpreter"
    for file in "${missing[@]}"; do
        say "Installing $file into .venv (the first time this downloads several GB for PyTorch)"
        "$PY" -m pip install --disable-pip-version-check --requirement "$file" \
            || fail "pip could not install $file: see its message above"
        { grep -sv "^$file " "$note" || true; say "$file $hash"; } >"$note.part"
        mv "$note.part" "$note"
    done
}

make_venv() {
    local python=$1
    command -v "$python" >/dev/null \
        || fail "there is no interpreter '$python': install Python 3.10 or newer, or set PYTHON"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
        || fail "'$python' is $("$python" --version 2>&1): Python 3.10 or newer is needed; set PYTHON to one"
    say "Making .venv with $("$python" --version 2>&1)"
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .venv || fail "'$python -m venv .venv' failed: see its message above"
    elif "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m virtualenv --quiet .venv || fail "'$python -m virtualenv .venv' failed: see its message above"
    else
        # Debian and Ubuntu split ensurepip off into a package of its own.
        fail "'$python' cannot make .venv: install python3-venv (apt) or virtualenv (pip), or set MUNIT_PYTHON"
    fi
}


# ---- Data sets -------------------------------------------------------------------------------------------------------

# download URL FILE: writes FILE; FILE.part until it is whole, which a later run continues. Skipped where FILE is there.
download() {
    local url=$1 file=$2 part=$2.part status=0
    if [ -s "$file" ]; then
        say "Have $file"
        return
    fi
    mkdir -p "$(dirname "$file")"
    say "Downloading $url to $file"
    if command -v curl >/dev/null; then
        fetch_with_curl "$url" "$part" || status=$?
        if [ -s "$part" ] && { [ "$status" -eq 33 ] || [ "$status" -eq 36 ]; }; then
            say "The server cannot continue a partial download: starting again"
            rm -f "$part"
            status=0
            fetch_with_curl "$url" "$part" || status=$?
        fi
    elif command -v wget >/dev/null; then
        wget --continue --tries=5 --no-verbose --show-progress --output-document="$part" "$url" || status=$?
    else
        fail "neither curl nor wget is installed: install one, or put the file of $url at $file yourself"
    fi
    if [ "$status" -ne 0 ] || [ ! -s "$part" ]; then
        [ -s "$part" ] || rm -f "$part"
        fail "could not download $url (status $status): run this again to continue, or set URL to another address"
    fi
    mv "$part" "$file"
}

fetch_with_curl() {
    curl --continue-at - --fail --location --retry 5 --progress-bar --show-error --output "$2" "$1"
}

# check_archive FILE: fails with one line unless FILE is a whole .tar.gz or .zip. Reads all of it, so that a download
# that was cut short or altered is found here and not in the middle of training.
check_archive() {
    local whole=true
    say "Checking $1"
    case $1 in
        *.zip)
            # Python's own reader, so that unzip need not be installed.
            "$PY" -c 'import sys, zipfile
sys.exit(zipfile.ZipFile(sys.argv[1]).testzip() is not None)' "$1" 2>/dev/null || whole=false ;;
        *)  tar -tzf "$1" >/dev/null 2>&1 || whole=false ;;
    esac
    $whole || fail "$1 is damaged or not an archive: delete it and run this again"
}

# count_images FOLDER: prints how many images lie in it; 0 where there is no such folder.
count_images() {
    [ -d "$1" ] || { say 0; return; }
    # wc pads its number on some systems; the arithmetic takes the blanks off.
    echo $(($(find "$1" -type f \( -iname '*.jpg' -o -iname '*.jpeg' -o -iname '*.png' \) | wc -l)))
}

# has_images FOLDER PART=COUNT...: whether FOLDER/PART holds COUNT images, for every part.
has_images() {
    local folder=$1 part
    shift
    for part in "$@"; do
        [ "$(count_images "$folder/${part%%=*}")" -eq "${part##*=}" ] || return 1
    done
}

# check_images WHAT FOLDER PART=COUNT...: fails with one line at the first part with another count; WHAT is to blame.
check_images() {
    local what=$1 folder=$2 part found
    shift 2
    for part in "$@"; do
        found=$(count_images "$folder/${part%%=*}")
        [ "$found" -eq "${part##*=}" ] \
            || fail "$what: $found images in ${part%%=*} where ${part##*=} are expected (set COUNTS if yours are right)"
    done
}

# fetch_images URL ARCHIVE FOLDER PART=COUNT...: download, check, unpack, count. Writes ARCHIVE and FOLDER/PART.
# Skipped where every part has its count; a part that is there with another count is left alone and named.
fetch_images() {
    local url=$1 archive=$2 folder=$3 part source
    shift 3
    if has_images "$folder" "$@"; then
        say "Have $folder ($*)"
        return
    fi
    for part in "$@"; do
        [ ! -e "$folder/${part%%=*}" ] || has_images "$folder" "$part" \
            || fail "$folder/${part%%=*} is there but does not hold ${part##*=} images: move it away and run this again"
    done

    download "$url" "$archive"
    check_archive "$archive"

    # Into a folder of its own and then renamed: what carries the final name is complete.
    local unpacking=$folder.unpacking
    say "Unpacking $archive to $folder"
    rm -rf "$unpacking"
    mkdir -p "$unpacking" "$folder"
    case $archive in
        *.zip) "$PY" -m zipfile -e "$archive" "$unpacking" ;;
        *)     tar -xzf "$archive" -C "$unpacking" ;;
    esac
    source=$(find "$unpacking" -type d -name "${1%%=*}" -print -quit)
    source=${source%/*}
    (check_images "$archive" "${source:-$unpacking}" "$@") || { rm -rf "$unpacking"; exit 2; }
    for part in "$@"; do
        [ -e "$folder/${part%%=*}" ] || mv "$source/${part%%=*}" "$folder/${part%%=*}"
    done
    rm -rf "$unpacking"
}

# fetch_pairs NAME URL TRAIN VAL: one of the pix2pix data sets, whose images hold edges (left) and photo (right).
# Writes datasets/NAME.tar.gz, datasets/NAME/{train,val} and from these datasets/NAME/{trainA,trainB,testA,testB}.
fetch_pairs() {
    local name=$1 url=$2 train=$3 val=$4 folder=datasets/$1
    local ready=("trainA=$train" "trainB=$train" "testA=$val" "testB=$val")
    if has_images "$folder" "${ready[@]}"; then
        say "Have $folder (${ready[*]})"
        return
    fi
    fetch_images "$url" "datasets/$name.tar.gz" "$folder" "train=$train" "val=$val"
    split_pairs "$folder/train" "$folder/trainA" "$folder/trainB"
    split_pairs "$folder/val" "$folder/testA" "$folder/testB"
    check_images "$folder" "$folder" "${ready[@]}"
    say "No longer needed: datasets/$name.tar.gz, $folder/train, $folder/val"
}

split_pairs() {
    "$PY" scripts/split_pairs.py --input "$1" --output_a "$2" --output_b "$3"
}

# read_counts N DEFAULT: sets COUNTS to N whole numbers: those of the data set, or those that the caller has set.
read_counts() {
    COUNTS=${COUNTS:-$2}
    [[ "$COUNTS" =~ ^[0-9]+(\ [0-9]+){$(($1 - 1))}$ ]] \
        || fail "COUNTS='$COUNTS': $1 whole numbers are wanted, as in COUNTS='$2'"
}


# ---- Training --------------------------------------------------------------------------------------------------------

# train CONFIG ARGUMENT...: runs train.py. TRAIN replaces the command: TRAIN="torchrun --nproc_per_node 4 train.py".
train() {
    local command config=$1
    shift
    read -r -a command <<<"${TRAIN:-}"
    [ "${#command[@]}" -gt 0 ] || command=("$PY" train.py)
    say "Training: ${command[*]} --config $config $*"
    "${command[@]}" --config "$config" "$@"
}
