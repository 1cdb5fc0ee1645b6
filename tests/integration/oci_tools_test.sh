#!/bin/bash
# Images that umoci, buildah and skopeo wrote must be read here, and what is written here must be read by them.
# usage: oci_tools_test.sh IMAGE_TOOL
set -euo pipefail

tool=$1
for program in umoci skopeo buildah; do
    if ! command -v "$program" >/dev/null; then
        echo "skipped: $program is missing"
        exit 77
    fi
done

work=$(mktemp -d "${TMPDIR:-/tmp}/traintoken-oci-XXXXXX")
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT
cd "$work"

fail() {
    echo "FAILED: $1" >&2
    exit 1
}

# What image_tool should say of the train in a folder.
describe() {
    local path type target
    (cd "$1" && { [ ! -e opt/train_config.json ] || echo opt/train_config.json
                  for folder in opt/pht_train opt/pht_results; do
                      [ ! -e "$folder" ] || find "$folder"
                  done; }) | LC_ALL=C sort | while IFS= read -r path; do
        type="file"
        if [ -L "$1/$path" ]; then
            type="symbolic link"
            target=$(readlink "$1/$path")
        elif [ -d "$1/$path" ]; then
            type=folder
            target=-
        else
            target=$(sha256sum <"$1/$path" | cut -d' ' -f1)
        fi
        size=0
        [ "$type" != file ] || size=$(stat -c %s "$1/$path")
        echo "$type $(stat -c %a "$1/$path") $size $target $path"
    done
}

# The image must hold what the folder holds.
expect() {
    describe "$2" >want
    "$tool" list "$1" | LC_ALL=C sort >got || fail "$3: not read"
    LC_ALL=C sort -o want want
    diff -u want got || fail "$3"
    echo "ok: $3"
}

make_train() {
    mkdir -p "$1/opt/pht_train/lib/deep" "$1/opt/pht_results/sub"
    printf '{}' >"$1/opt/train_config.json"
    printf 'print()\n' >"$1/opt/pht_train/main.py"
    chmod 755 "$1/opt/pht_train/main.py"
    head -c 100001 /dev/urandom >"$1/opt/pht_train/lib/deep/model.bin"
    printf 'umlaut' >"$1/opt/pht_train/lib/$(printf 'm\303\274ll.txt')"
    : >"$1/opt/pht_results/empty"
    printf 'result' >"$1/opt/pht_results/sub/one.csv"
    ln -s sub/one.csv "$1/opt/pht_results/latest"
}

# Takes away, changes, replaces a folder by a file, and adds.
change_train() {
    rm "$1/opt/pht_results/empty"
    rm -r "$1/opt/pht_train/lib/deep"
    printf 'two' >"$1/opt/pht_results/two.csv"
    printf 'changed' >"$1/opt/pht_train/main.py"
    rm -r "$1/opt/pht_results/sub"
    printf 'a file now' >"$1/opt/pht_results/sub"
}

umask 022
make_train first
cp -a first second
change_train second

# umoci: insert leaves out the end of the archive; repack writes whiteouts.
umoci init --layout umoci
umoci new --image umoci:latest
umoci insert --image umoci:latest first/opt /opt
expect oci:umoci first "umoci insert"
umoci unpack --rootless --image umoci:latest bundle
change_train bundle/rootfs
umoci repack --image umoci:changed bundle
expect oci:umoci:changed second "umoci repack, with whiteouts"

# skopeo: as it is, zstd, through Docker's archive, with a second image in the layout.
skopeo copy --quiet oci:umoci:changed oci:skopeo:latest
expect oci:skopeo second "skopeo copy"
if skopeo copy --quiet --dest-compress-format zstd --dest-compress-level 3 oci:umoci:changed oci:zstd:latest; then
    expect oci:zstd second "skopeo copy to zstd"
fi
skopeo copy --quiet oci:umoci:changed docker-archive:saved.tar:train:latest
skopeo copy --quiet docker-archive:saved.tar oci:loaded:latest
expect oci:loaded second "docker's archive, skopeo"

# buildah: several layers, the second one with whiteouts.
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
storage=(--root "$work/storage" --runroot "$work/run")
if container=$(buildah "${storage[@]}" from scratch 2>buildah.log); then
    buildah "${storage[@]}" add --quiet "$container" first/ / >/dev/null
    buildah "${storage[@]}" commit --quiet "$container" oci:buildah:latest >/dev/null
    expect oci:buildah first "buildah commit"
    buildah "${storage[@]}" rm --all >/dev/null
else
    cat buildah.log
    fail "buildah does not run here"
fi

# What is written here: on each of them, and by each of them read.
for image in umoci:changed skopeo:latest loaded:latest buildah:latest; do
    source_folder=second
    [ "$image" != buildah:latest ] || source_folder=first
    made=made-${image%%:*}
    "$tool" replace "oci:$image" "oci:$made:latest" "new results" || fail "$image: not changed"
    rm -rf expected
    cp -a $source_folder expected
    rm -r expected/opt/pht_results
    mkdir -m 755 expected/opt/pht_results
    printf 'new results' >expected/opt/pht_results/out.txt
    chmod 640 expected/opt/pht_results/out.txt
    expect "oci:$made" expected "written on $image"
    skopeo inspect "oci:$made:latest" >/dev/null || fail "skopeo inspect of $made"
    skopeo inspect --config "oci:$made:latest" >/dev/null || fail "skopeo inspect --config of $made"
    skopeo copy --quiet "oci:$made:latest" "oci:$made-copied:latest" || fail "skopeo copy of $made"
    expect "oci:$made-copied" expected "written on $image, copied by skopeo"
    umoci unpack --rootless --image "$made:latest" "bundle-$made" || fail "umoci unpack of $made"
    describe "bundle-$made/rootfs" >unpacked
    describe expected >want
    diff -u want unpacked || fail "$made as umoci unpacks it"
    echo "ok: $made as umoci unpacks it"
done
