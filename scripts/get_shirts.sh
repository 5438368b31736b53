#!/usr/bin/env bash
# Get photographs of shirts and make the data set edges2shirts256 from them: A: outlines, B: photographs, cut out on
# white. Every step that is done already is skipped; a download that was cut short is continued. To train at once
# without a download, use datasets/edges2shirts (128×128), which comes with the project.
#
#     scripts/get_shirts.sh [photos_to_outlines.py's flags, such as --workers 4]
#     PHOTOS=folder scripts/get_shirts.sh      photographs of your own, or a copy that you have already
#
# Reads    once, about 106 MB from the address below: "clothing dataset (small)" by Alexey Grigorev and 32
#          contributors, CC0 1.0, of which the classes t-shirt and longsleeve are used
# Writes   datasets/clothing_dataset_small.zip, datasets/clothing_dataset_small/, then datasets/edges2shirts256/
# Change   PHOTOS=folder   OUTPUT=folder   SIZE=256   URL=address
#          COUNTS='1250 130 124' (shirts in train, validation and test)   see also common.sh

set -euo pipefail

# A relative PHOTOS is relative to the caller's folder, which common.sh leaves.
PHOTOS=${PHOTOS:-}
case $PHOTOS in
    '' | /*) ;;
    *) PHOTOS=$PWD/$PHOTOS ;;
esac

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

OUTPUT=${OUTPUT:-datasets/edges2shirts256}
FOLDER=datasets/clothing_dataset_small

# get_photographs TRAIN VALIDATION TEST: sets PHOTOS to a folder of train/ (TRAIN + VALIDATION shirts) and test/ (TEST).
get_photographs() {
    local part class target ready=("train=$(($1 + $2))" "test=$3") parts=("train=$1" "validation=$2" "test=$3")
    local archive=$FOLDER.zip unpacking=$FOLDER.unpacking source
    PHOTOS=$FOLDER
    if has_images "$FOLDER" "${ready[@]}"; then
        say "Have $FOLDER (${ready[*]})"
        return
    fi
    [ ! -e "$FOLDER" ] \
        || fail "$FOLDER is there but does not hold ${ready[*]} images: move it away and run this again"

    download "${URL:-https://github.com/alexeygrigorev/clothing-dataset-small/archive/refs/heads/master.zip}" "$archive"
    check_archive "$archive"

    # Into a folder of its own and then renamed: what carries the final name is complete.
    say "Unpacking the shirts of $archive to $FOLDER"
    rm -rf "$unpacking"
    mkdir -p "$unpacking/all"
    "$PY" -m zipfile -e "$archive" "$unpacking/all"
    source=$(find "$unpacking/all" -type d -name train -print -quit)
    source=${source%/*}
    for part in train validation test; do
        target=$unpacking/shirts/$part
        mkdir -p "$target"
        for class in t-shirt longsleeve; do
            [ ! -d "$source/$part/$class" ] || mv "$source/$part/$class" "$target/$class"
        done
    done
    (check_images "$archive" "$unpacking/shirts" "${parts[@]}") || { rm -rf "$unpacking"; exit 2; }
    mv "$unpacking/shirts/validation" "$unpacking/shirts/train/validation"
    for class in t-shirt longsleeve; do
        # The class comes first in the name of a file, as in the compact data set.
        mkdir -p "$unpacking/shirts/train/$class"
        [ ! -d "$unpacking/shirts/train/validation/$class" ] \
            || mv "$unpacking/shirts/train/validation/$class" "$unpacking/shirts/train/$class/validation"
    done
    rmdir "$unpacking/shirts/train/validation"
    mv "$unpacking/shirts" "$FOLDER"
    rm -rf "$unpacking"
}

ensure_venv requirements.txt requirements/photos.txt
if [ -n "$PHOTOS" ]; then
    [ -d "$PHOTOS" ] || fail "PHOTOS='$PHOTOS': there is no such folder; name a folder of photographs, or leave it out"
else
    read_counts 3 '1250 130 124'
    read -r train validation test <<<"$COUNTS"
    get_photographs "$train" "$validation" "$test"
fi

"$PY" scripts/photos_to_outlines.py --input "$PHOTOS" --output "$OUTPUT" --size "${SIZE:-256}" --cut_out --pairs "$@"
for part in train test; do
    check_images "$OUTPUT" "$OUTPUT" "${part}A=$(count_images "$OUTPUT/${part}B")"
done
[ "$(count_images "$OUTPUT/trainA")" -gt 0 ] \
    || fail "$OUTPUT: no cut-out was kept; $OUTPUT/kept_and_refused.png shows why"
say "Ready: $OUTPUT (look at kept_and_refused.png in it)"
[ "$PHOTOS" != "$FOLDER" ] || say "No longer needed: $FOLDER.zip, $FOLDER"
